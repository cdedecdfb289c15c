"""video_bitrate_filter: the bytes of the video's packets by its duration, whatever else is in the file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dj_assets.errors import Unreadable
from dj_assets.frames import Size, VideoInfo
from dj_assets.operators._contract import NoParams
from dj_assets.operators.video_bitrate_filter import read
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure

NAME = "video_bitrate_filter"


def noise(num_frames: int) -> list[videos.Picture]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(num_frames)]


def packet_bytes(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(video=0))


def test_it_is_what_the_packets_hold(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", noise(48), fps=24)
    bits = 8 * packet_bytes(path)
    assert measure(path, NAME).values == (pytest.approx(bits / 1000 / 2), pytest.approx(bits / (48 * 64 * 96)))


def test_sound_and_container_do_not_count(tmp_path: Path) -> None:
    plain = videos.write_video(tmp_path / "a.mp4", noise(24))
    loud = videos.write_video(tmp_path / "b.mp4", noise(24), with_audio=True)
    other = videos.remux(plain, tmp_path / "c.mkv")
    expected = pytest.approx(measure(plain, NAME).values)
    assert measure(loud, NAME).values == expected
    assert measure(other, NAME).values == expected


def test_an_encoder_that_is_told_a_rate_is_found_near_it(tmp_path: Path) -> None:
    options = {"x264-params": "bitrate=400:vbv-maxrate=400:vbv-bufsize=40:nal-hrd=cbr"}
    path = videos.write_video(tmp_path / "a.mp4", noise(96), options=options)
    assert measure(path, NAME).values[0] == pytest.approx(400, rel=0.1)


def test_half_the_rate_of_frames_is_half_the_bitrate_and_as_many_bits_a_pixel(tmp_path: Path) -> None:
    options = {"qp": "30", "g": "1"}
    fast = measure(videos.write_video(tmp_path / "a.mp4", noise(24), fps=24, options=options), NAME).values
    slow = measure(videos.write_video(tmp_path / "b.mp4", noise(24), fps=12, options=options), NAME).values
    assert slow[0] == pytest.approx(fast[0] / 2, rel=0.02)
    assert slow[1] == pytest.approx(fast[1], rel=0.02)


def test_what_was_not_read_has_no_number() -> None:
    with pytest.raises(Unreadable):
        read(VideoInfo(Size(8, 8), 24.0, 1.0, np.arange(24) / 24, np.array([0])), NoParams())
