"""video_audio_presence_filter: sound for a known part of the time, none, a stream without packets, silence."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dj_assets.errors import Unreadable
from dj_assets.frames import Size, VideoInfo
from dj_assets.operators._contract import NoParams
from dj_assets.operators.video_audio_presence_filter import read
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_audio_presence_filter"


def with_sound(
    path: Path, stretches: list[tuple[float, float]], *, picture_seconds: int = 4, level: float = 0.2, streams: int = 1
) -> Path:
    """A video whose last audio stream has packets in the given stretches of 4 seconds alone."""
    rate, size = 16_000, 1024
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        sounds = [container.add_stream("aac", rate=rate, layout="mono") for _ in range(streams)]
        for index, picture in enumerate(videos.numbered(num_frames=1) * 10 * picture_seconds):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        wave = (level * np.sin(np.arange(size) / 8)).astype(np.float32)[None]
        encoded = []
        for number in range(4 * rate // size):
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, number * size
            encoded += sounds[-1].encode(frame)
        encoded += sounds[-1].encode()
        for packet in encoded:
            when = float((packet.pts or 0) * packet.time_base)
            if any(start <= when < end for start, end in stretches):
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("case", "stretches", "share"),
    [
        ("throughout", [(0, 4)], 1.0),
        ("the first half", [(0, 2)], 0.5),
        ("the last quarter", [(3, 4)], 0.25),
        ("with a pause", [(0, 1), (3, 4)], 0.5),
    ],
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_for_a_part_of_the_time_is_that_share(
    tmp_path: Path, suffix: str, case: str, stretches: list[tuple[float, float]], share: float
) -> None:
    path = with_sound(tmp_path / f"a{suffix}", stretches)
    assert measure(path, NAME).values[0] == pytest.approx(share, abs=0.04), case


def test_a_file_without_sound_has_none(still: Path) -> None:
    assert measure(still, NAME).values == (0.0,)


def test_a_stream_that_is_declared_and_never_filled_is_none(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "a.mkv", [])
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1
    assert measure(path, NAME).values == (0.0,)


def test_silence_is_sound(tmp_path: Path) -> None:
    assert measure(with_sound(tmp_path / "a.mp4", [(0, 4)], level=0.0), NAME).values[0] == pytest.approx(1, abs=0.04)


def test_of_several_streams_the_fullest_counts(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "a.mkv", [(0, 4)], streams=3)
    assert measure(path, NAME).values[0] == pytest.approx(1, abs=0.04)


def test_sound_beyond_the_pictures_does_not_count(tmp_path: Path) -> None:
    """Four seconds of sound beside one second of pictures."""
    path = with_sound(tmp_path / "a.mkv", [(0, 4)], picture_seconds=1)
    assert measure(path, NAME).values[0] == pytest.approx(1.0)


def test_what_was_not_read_has_no_number() -> None:
    with pytest.raises(Unreadable):
        read(VideoInfo(Size(8, 8), 24.0, 1.0, np.arange(24) / 24, np.array([0])), NoParams())
