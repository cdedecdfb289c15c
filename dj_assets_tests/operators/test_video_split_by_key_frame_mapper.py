"""Split by key frame: pieces begin at key frames, and upstream's counts on the tutorial's clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from dj_assets_tests import videos
from dj_assets_tests.benches import made, seen

NAME = "video_split_by_key_frame_mapper"


def numbers(path: str) -> list[int]:
    """Which of `videos.numbered` a file shows."""
    return [round((picture.mean() - 16) / 8) for picture in seen(path).pictures]


def test_pieces_begin_at_key_frames(tmp_path: Path) -> None:
    options = {"g": "10", "keyint_min": "10", "sc_threshold": "0", "bf": "2"}
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=25), options=options)
    products = made(NAME, path, tmp_path / "out")
    assert [numbers(product.path) for product in products] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]
    assert [product.begin_seconds for product in products] == pytest.approx([0, 10 / 24, 20 / 24])


def test_a_video_of_one_key_frame_stays_as_it_is(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=9), options={"sc_threshold": "0"})
    (product,) = made(NAME, path, tmp_path / "out")
    assert product.is_parent


@pytest.mark.media
@pytest.mark.parametrize(
    ("clip", "durations"), [("video1", [6.0, 3.875, 1.875]), ("video2", [10.416667, 10.416667, 2.333333])]
)
def test_pieces_are_those_of_data_juicer(clip: str, durations: list[float], media: Path, tmp_path: Path) -> None:
    products = made(NAME, media / f"{clip}.mp4", tmp_path)
    found = [float(seen(product.path).facts["duration"]) for product in products]
    assert found == pytest.approx(durations, abs=1e-4)
