"""Split by duration: pieces, their times, and upstream's counts on the tutorial's clips."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dj_assets.frames import Size, VideoInfo
from dj_assets.operators import video_split_by_duration_mapper as split
from dj_assets_tests import videos
from dj_assets_tests.benches import made, seen

NAME = "video_split_by_duration_mapper"


@pytest.mark.parametrize(
    ("seconds", "options", "expected"),
    [
        (25, {}, [(0, 10), (10, 20), (20, 25)]),
        (20, {}, [(0, 10), (10, 20)]),
        (23, {"min_last_split_duration": 3}, [(0, 10), (10, 20), (20, 23)]),
        (22, {"min_last_split_duration": 3}, [(0, 10), (10, 20)]),
        (50, {"split_duration": 20, "overlap_duration": 5}, [(0, 20), (15, 35), (30, 50)]),
        (48, {"split_duration": 20, "overlap_duration": 5}, [(0, 20), (15, 35), (30, 48)]),
    ],
)
def test_pieces(seconds: float, options: dict[str, float], expected: list[tuple[float, float]]) -> None:
    assert split.pieces(seconds, split.SplitByDurationParams(**options)) == expected


def test_neighbours_share_no_frame_and_leave_none_out() -> None:
    times = np.arange(250) / 24.976  # a rate at which no frame falls on a cut
    info = VideoInfo(Size(4, 4), 24.976, 250 / 24.976, times, np.zeros(1, dtype=np.int64))
    spans = split.spans(info, split.SplitByDurationParams(split_duration=0.7))
    assert spans[0].first == 0 and spans[-1].stop == 250
    assert all(before.stop == after.first for before, after in pairwise(spans))


def test_an_overlap_as_long_as_a_piece_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be less than split_duration"):
        split.SplitByDurationParams(split_duration=2, overlap_duration=2)


def test_a_video_not_longer_than_a_piece_stays_as_it_is(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "short.mp4", videos.numbered(num_frames=24))
    (product,) = made(NAME, path, tmp_path / "out", split_duration=1)
    assert product.is_parent and product.path == str(path)
    assert not (tmp_path / "out").exists()


def test_pieces_are_cut_to_the_frame(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=26), with_audio=True)
    products = made(NAME, path, tmp_path / "out", split_duration=0.5, overlap_duration=0.25)
    firsts = [round((seen(product.path).pictures[0].mean() - 16) / 8) for product in products]
    counts = [len(seen(product.path).seconds) for product in products]
    assert (firsts, counts) == ([0, 6, 12, 18], [12, 12, 12, 8])


@pytest.mark.media
@pytest.mark.parametrize(
    ("clip", "options", "durations"),
    [
        ("video1", {}, [10.0, 1.75]),
        ("video2", {}, [10.0, 10.0, 3.1667]),
        ("video1", {"min_last_split_duration": 3}, [10.0]),
        ("video2", {"min_last_split_duration": 3}, [10.0, 10.0, 3.1667]),
    ],
)
def test_counts_are_those_of_data_juicer(
    clip: str, options: dict[str, float], durations: list[float], media: Path, tmp_path: Path
) -> None:
    products = made(NAME, media / f"{clip}.mp4", tmp_path, **options)
    found = [float(seen(product.path).facts["duration"]) for product in products]
    assert found == pytest.approx(durations, abs=1e-3)
