"""Facts from packets, whatever the container says or leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets.errors import MediaError, NoVideoStream, Refused, TooLarge, Unreadable
from dj_assets.frames import VideoInfo
from dj_assets.video.probe import open_video, probe, rescan_by_decoding
from dj_assets.video.safe_open import MediaLimits
from dj_assets_tests import videos

LIMITS = MediaLimits()


def info_of(path: Path, limits: MediaLimits = LIMITS) -> VideoInfo:
    with open_video(str(path), roots=[path.parent], limits=limits) as video:
        return probe(video).info


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_the_same_packets_give_the_same_facts_in_every_container(moving_2px: Path, tmp_path: Path, suffix: str) -> None:
    info = info_of(videos.remux(moving_2px, tmp_path / f"a{suffix}"))
    assert info.num_frames_from_scan == 24
    assert info.duration_seconds == pytest.approx(1.0)
    assert info.fps == pytest.approx(24)
    assert info.size == (96, 128)
    np.testing.assert_allclose(info.pts_seconds, np.arange(24) / 24)
    assert info.keyframes[0] == 0


def test_webm_has_a_duration_although_its_header_lacks_one(tmp_path: Path) -> None:
    frames = videos.numbered(num_frames=10)
    info = info_of(videos.write_video(tmp_path / "a.webm", frames, codec="libvpx-vp9", fps=10, lossless=True))
    assert info.num_frames_from_header is None
    assert (info.num_frames_from_scan, info.duration_seconds) == (10, pytest.approx(1.0))


def test_variable_rate_keeps_its_own_times(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "v.mp4", videos.numbered(num_frames=4), fps=10, pts=[0, 1, 5, 30])
    np.testing.assert_allclose(info_of(path).pts_seconds, [0, 0.1, 0.5, 3.0], atol=1e-6)


def test_one_frame(tmp_path: Path) -> None:
    info = info_of(videos.write_video(tmp_path / "one.mp4", videos.numbered(num_frames=1), fps=25))
    assert info.num_frames_from_scan == 1
    assert info.duration_seconds == pytest.approx(1 / 25)


def test_rescan_by_decoding_agrees_with_the_packets(moving_2px: Path) -> None:
    with open_video(str(moving_2px), roots=[moving_2px.parent], limits=LIMITS) as video:
        by_packets = probe(video)
    with open_video(str(moving_2px), roots=[moving_2px.parent], limits=LIMITS) as video:
        by_frames = rescan_by_decoding(video)
    np.testing.assert_array_equal(by_packets.ticks, by_frames.ticks)


def test_sound_is_seen(tmp_path: Path) -> None:
    frames = videos.numbered(num_frames=12)
    assert info_of(videos.write_video(tmp_path / "a.mp4", frames, with_audio=True)).has_audio
    assert not info_of(videos.write_video(tmp_path / "b.mp4", frames)).has_audio


def test_audio_only_is_no_video_stream(tmp_path: Path) -> None:
    with pytest.raises(NoVideoStream, match="audio"):
        info_of(videos.write_audio(tmp_path / "sound.m4a"))


def test_a_truncated_file_whose_index_comes_last_has_none(moving_2px: Path, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="moov"):
        info_of(videos.cut_short(moving_2px, tmp_path / "cut.mp4", share=0.6))


def test_a_truncated_file_whose_index_comes_first_says_what_it_promises(moving_2px: Path, tmp_path: Path) -> None:
    whole = videos.remux(moving_2px, tmp_path / "whole.mp4", options={"movflags": "+faststart"})
    assert info_of(whole).num_frames_from_scan == 24
    with pytest.raises(Unreadable, match="truncated: its index promises"):
        info_of(videos.cut_short(whole, tmp_path / "cut.mp4", share=0.6))


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("prose", b"hello, this is no video\n" * 40, MediaError),
        ("random bytes", bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)), MediaError),
        ("concat script naming a sibling", b"ffconcat version 1.0\nfile moving_2px.mp4\n", Refused),
        ("HLS playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", MediaError),
        ("SDP", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", MediaError),
    ],
)
def test_what_is_not_a_plain_video_is_not_decoded(
    moving_2px: Path, tmp_path: Path, name: str, content: bytes, error: type[MediaError]
) -> None:
    (tmp_path / moving_2px.name).write_bytes(moving_2px.read_bytes())
    path = tmp_path / "disguised.mp4"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        info_of(path)
    assert str(path) in caught.value.given, name


def test_a_decompression_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="16384x8192"):
        info_of(videos.decompression_bomb(tmp_path / "bomb.mp4"))


def test_the_second_file_that_fails_in_the_same_way_has_the_same_reason(tmp_path: Path) -> None:
    bomb = videos.decompression_bomb(tmp_path / "bomb.mp4")
    script = tmp_path / "script.mp4"
    script.write_text("ffconcat version 1.0\nfile bomb.mp4\n")
    for _ in range(3):
        with pytest.raises(TooLarge, match="16384x8192"):
            info_of(bomb)
        with pytest.raises(Refused, match=r"\(concat\)"):
            info_of(script)


def test_limits_on_pixels_and_frames(moving_2px: Path) -> None:
    with pytest.raises(TooLarge, match="128x96"):
        info_of(moving_2px, MediaLimits(max_pixels=1000))
    with pytest.raises(TooLarge, match="more than 5 frames"):
        info_of(moving_2px, MediaLimits(max_frames=5))
