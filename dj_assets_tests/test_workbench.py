"""The bench: clips are cut to the frame, keep their sound and their clock, and have names of their own."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets.errors import StoreError, Unreadable
from dj_assets.operators._mapper import Span
from dj_assets.workbench import product_name
from dj_assets_tests import videos
from dj_assets_tests.benches import bench, made, off_by, seen

ENCODERS_LOSS = 3.0
"""Grey levels by which a clip's pictures may lie off its parent's, on the mean; neighbours differ by twice that."""


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 frames at 24 fps, B-frames among them, every second picture of another brightness, with AAC sound."""
    path = tmp_path_factory.mktemp("moving") / "moving.mp4"
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=48, pixels_per_frame=3)
    return videos.write_video(path, frames, options={"bf": "3"}, with_audio=True)


@pytest.mark.parametrize(
    "spans",
    [
        [Span(0, 48)],
        [Span(0, 13), Span(13, 14), Span(14, 48)],
        [Span(7, 9), Span(40, 48)],
        [Span(0, 20), Span(10, 30), Span(20, 48)],
        [Span(5, 40), Span(6, 7)],
    ],
    ids=["whole", "one after another", "with gaps", "overlapping", "one in another"],
)
def test_clips_have_exactly_their_frames(moving: Path, tmp_path: Path, spans: list[Span]) -> None:
    parent = seen(moving)
    with bench(moving, tmp_path) as at:
        products = at.clips(spans)
    for span, product in zip(spans, products, strict=True):
        clip = seen(product.path)
        assert clip.seconds == [Fraction(index, 24) for index in range(span.stop - span.first)]
        assert clip.facts["duration"] == Fraction(span.stop - span.first, 24)
        expected = parent.pictures[span.first : span.stop]
        assert off_by(clip.pictures, expected) < ENCODERS_LOSS
        neighbours = parent.pictures[(np.arange(span.first, span.stop) + 1) % 48]
        assert off_by(neighbours, expected) > 2 * ENCODERS_LOSS
        assert (product.begin_seconds, product.end_seconds) == pytest.approx((span.first / 24, span.stop / 24))


def test_each_audio_packet_goes_to_the_clip_in_whose_time_it_begins(moving: Path, tmp_path: Path) -> None:
    parent = seen(moving)
    with bench(moving, tmp_path) as at:
        clips = [seen(product.path) for product in at.clips([Span(0, 13), Span(13, 30), Span(30, 48)])]
    assert len(parent.audio) > 30
    assert [data for clip in clips for data in clip.audio_bytes] == parent.audio_bytes
    shifted = [
        begin + Fraction(first, 24) for first, clip in zip((0, 13, 30), clips, strict=True) for _, begin in clip.audio
    ]
    assert max(abs(found - begin) for found, (_, begin) in zip(shifted, parent.audio, strict=True)) <= Fraction(
        1, 16_000
    )


def test_the_same_clips_are_the_same_bytes_and_are_made_once(moving: Path, tmp_path: Path) -> None:
    spans = [Span(0, 13), Span(13, 48)]
    with bench(moving, tmp_path / "a") as at, bench(moving, tmp_path / "b") as elsewhere:
        first, second = at.clips(spans), elsewhere.clips(spans)
        sound, other = (Path(product.path) for product in first)
        written = sound.stat().st_mtime_ns
        other.write_bytes(other.read_bytes()[:1000])
    with bench(moving, tmp_path / "a", sound={str(sound)}) as at:
        assert at.clips(spans) == first
    assert sound.stat().st_mtime_ns == written
    for one, same in zip(first, second, strict=True):
        assert Path(one.path).name == Path(same.path).name
        assert Path(one.path).read_bytes() == Path(same.path).read_bytes()


def test_what_another_run_made_meanwhile_keeps_its_time(moving: Path, tmp_path: Path) -> None:
    """That run is reading it, and would take a new time for another file."""
    with bench(moving, tmp_path / "out") as at:
        files = [Path(at.clips([Span(0, 13)])[0].path)]
        picture = np.zeros((16, 16, 3), dtype=np.uint8)
        files.append(Path(at.picture(picture, "frame_0", at_seconds=0.0).path))
        for file in files:
            os.utime(file, (1000, 1000))
        at.clips([Span(0, 13)])
        at.picture(picture, "frame_0", at_seconds=0.0)
    assert [file.stat().st_mtime for file in files] == [1000, 1000]
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 2


def test_names_tell_content_maker_and_span_apart(moving: Path, tmp_path: Path) -> None:
    names = set()
    for change in ({}, {"content_hash": "11"}, {"maker": "other"}):
        with bench(moving, tmp_path, **change) as at:
            names |= {Path(product.path).name for product in at.clips([Span(0, 2), Span(2, 4)])}
    assert len(names) == 6


@pytest.mark.parametrize("stem", ["a", "é" * 200, "..", "-rf", "a__dj_0123456789abcdef_3-7", "\udcff" * 200])
def test_names_of_any_stem_are_files_of_the_folder_and_do_not_grow(stem: str) -> None:
    name = product_name(stem, "00ff", "m")
    assert len(f".{name}_{10**6}-{10**6}.mp4.{'0' * 32}.tmp".encode(errors="surrogateescape")) < 255
    assert "/" not in name and name.count("__dj_") == 1
    assert len(product_name(name + "_0-9", "00", "m")) == len(name)


def test_a_frame_that_does_not_decode_is_an_error_and_leaves_no_clip(moving: Path, tmp_path: Path) -> None:
    """A shorter clip would pass for a whole one."""
    broken = videos.blank_packet(moving, tmp_path / "broken.mp4", index=20)
    with bench(broken, tmp_path / "out") as at, pytest.raises(Unreadable, match="frame"):
        at.clips([Span(0, 10), Span(10, 48)])
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_written_to_is_no_fault_of_the_video(moving: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with bench(moving, tmp_path / "file") as at, pytest.raises(StoreError, match="cannot write"):
        at.clips([Span(0, 2)])


@pytest.mark.parametrize("codec", ["h264_intra_refresh", "hevc_ts"])
def test_streams_that_cannot_be_planned_are_decoded_in_order(codec: str, tmp_path: Path) -> None:
    """Their key packets are not what they seem: what is made first fails, and is made again from all packets."""
    name, suffix, options = videos.CODECS[codec]
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=40, pixels_per_frame=3)
    path = videos.write_video(tmp_path / f"v{suffix}", frames, codec=name, options=options)
    products = made("video_split_by_duration_mapper", path, tmp_path / "out", split_duration=1)
    counts = [len(seen(product.path).seconds) for product in products]
    assert counts == [24, 16]
    pictures = np.concatenate([seen(product.path).pictures for product in products])
    assert off_by(pictures, seen(path).pictures) < ENCODERS_LOSS


def test_a_video_that_opens_but_does_not_decode_is_told_of(moving: Path, tmp_path: Path) -> None:
    broken = videos.blank_packet(moving, tmp_path / "broken.mp4", index=20)
    with pytest.raises(Unreadable, match="frame"):
        made("video_split_by_duration_mapper", broken, tmp_path / "out", split_duration=0.5)
    assert not list((tmp_path / "out").iterdir())


def test_a_packet_that_shows_nothing_is_no_lost_frame(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some streams have packets without a picture. Nothing fails to decode, so nothing is lost."""
    from dj_assets.video import probe as probing

    def with_a_phantom(video: Any, **options: Any) -> Any:
        scan = probe(video, **options)
        info = replace(scan.info, pts_seconds=np.append(scan.info.pts_seconds, 2.0))
        return replace(scan, info=info, ticks=np.append(scan.ticks, scan.ticks[-1] + 512), packets=None)

    probe = probing.probe
    monkeypatch.setattr(probing, "probe", with_a_phantom)
    products = made("video_split_by_duration_mapper", moving, tmp_path / "out", split_duration=1)
    assert [len(seen(product.path).seconds) for product in products] == [24, 24]
