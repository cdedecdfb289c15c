"""Exact copies: what upstream's own tests expect, on videos made here and on the tutorial's clips; what is hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from dj_assets_tests import videos
from dj_assets_tests.operators.candidates import applicant, chosen, kept
from dj_assets_tests.operators.tasks import measure

NAME = "video_deduplicator"
SAME_PICTURES = {1: "one", 2: "two", 3: "three", 6: "one", 7: "two", 8: "three", 9: "three"}
"""Upstream's clips by number, and which of them hold the same packets."""


def rows(*listed: Sequence[int], texts: str = "") -> list:
    """Samples that list these clips. texts: `t1 t2 …`, one per sample."""
    words = texts.split() or [""] * len(listed)
    return [
        applicant(number, text=text, videos=[(f"video{clip}.mp4", [SAME_PICTURES[clip]]) for clip in clips])
        for number, (clips, text) in enumerate(zip(listed, words, strict=True), start=1)
    ]


# Upstream's tests of its deduplicator, 1.6.1: what is listed, the texts that count, and which rows stay.
EXPECTED = {
    "one row": (rows([1]), False, [1]),
    "three others": (rows([1], [2], [3]), False, [1, 2, 3]),
    "one of them twice": (rows([1], [2], [2]), False, [1, 2]),
    "copies under other names": (rows([1], [2], [3], [6], [7], [8], [9]), False, [1, 2, 3]),
    "copies whose text counts": (
        rows([1], [2], [3], [6], [7], [8], [9], texts="t1 t2 t3 t1 t5 t3 t7"),
        True,
        [1, 2, 3, 5, 7],
    ),
    "several videos": (rows([1, 2, 3], [6, 7, 8], [9, 7], [8, 7]), False, [1, 3]),
    "several videos whose text counts": (
        rows([1, 2, 3], [6, 7, 8], [9, 7], [8, 7], texts="t1 t1 t3 t4"),
        True,
        [1, 3, 4],
    ),
    "order counts, and a path once": (rows([1, 2], [2, 1], [6, 7], [9, 9], [8, 8]), False, [1, 2, 4]),
    "no videos": (rows([], [2], [3], [], [7], [], [9]), False, [1, 2, 3, 4, 6]),
    "no videos, whose text counts": (
        rows([], [2], [3], [], [7], [], [9], texts="t1 t2 t3 t1 t5 t3 t3"),
        True,
        [1, 2, 3, 5, 6],
    ),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_the_samples_stay_that_stay_upstream(case: str) -> None:
    applicants, consider_text, expected = EXPECTED[case]
    assert kept(NAME, applicants, consider_text=consider_text) == expected


def test_a_copy_says_whose() -> None:
    found = chosen(NAME, rows([1], [6], [9]))
    assert (found.dropped, found.of) == ({"s2": "a copy of s1, which comes first"}, {"s2": "s1"})


def test_one_path_listed_twice_is_one_video_and_two_paths_are_two() -> None:
    assert kept(NAME, rows([3], [3, 3], [3, 8])) == [1, 3]


def test_spaces_around_a_text_do_not_count_and_no_text_is_an_empty_one() -> None:
    made = [applicant(n, text=text) for n, text in enumerate([" a\n", "a", None, ""], start=1)]
    assert kept(NAME, made, consider_text=True) == [1, 3]


# --- what is hashed


def packets_md5(path: Path) -> str:
    """As upstream has it: every packet of every video stream."""
    digest = hashlib.md5()
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.stream.type == "video":
                digest.update(bytes(packet))
    return digest.hexdigest()


def found_in(path: Path) -> str:
    measured = measure(path, NAME)
    assert measured.status == "ok", measured.reason
    [detail] = measured.window_details
    return detail


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "expected"),
    [("video1", "80ba761f8dcb683028e8c3acd90405dd"), ("video2", "d5b9a580bf6ea649ae500c01c501ed1e")],
)
def test_the_hash_of_the_tutorials_clips_is_upstreams(media: Path, name: str, expected: str) -> None:
    assert found_in(media / f"{name}.mp4") == expected


@pytest.mark.parametrize("codec", ["h264", "h264_pyramid_ts", "vp9", "mpeg4", "mpeg2"])
def test_it_is_the_md5_of_the_packets_whatever_the_codec(codec: str, tmp_path: Path) -> None:
    encoder, suffix, options = videos.CODECS[codec]
    frames = videos.shifting(videos.texture(height=64, width=64), num_frames=12, pixels_per_frame=1)
    path = videos.write_video(tmp_path / f"clip{suffix}", frames, codec=encoder, options=options)
    assert found_in(path) == packets_md5(path)
    measured = measure(path, NAME)
    with av.open(str(path)) as container:
        assert measured.values == (float(sum(packet.size for packet in container.demux(container.streams.video[0]))),)


def test_container_sound_and_metadata_do_not_count_and_pictures_do(moving_2px: Path, tmp_path: Path) -> None:
    first = found_in(moving_2px)
    assert found_in(videos.remux(moving_2px, tmp_path / "other.mov")) == first
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=24, pixels_per_frame=2)
    assert found_in(videos.write_video(tmp_path / "loud.mp4", frames, lossless=True, with_audio=True)) == first
    assert found_in(videos.write_video(tmp_path / "lossy.mp4", frames)) != first


def test_every_video_stream_counts(tmp_path: Path) -> None:
    """Two streams, the first of them the same: upstream hashes both, as they lie in the file."""
    path, single = tmp_path / "two.mp4", tmp_path / "one.mp4"
    pictures = [videos.texture(height=64, width=64, seed=seed) for seed in (0, 1)]
    write_streams(path, pictures)
    write_streams(single, pictures[:1])
    assert found_in(path) == packets_md5(path) != found_in(single)


def write_streams(path: Path, pictures: Sequence) -> None:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=24, options={"qp": "0"}) for _ in pictures]
        for stream in streams:
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
        for index in range(8):
            for stream, picture in zip(streams, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())


def test_other_measures_of_the_same_video_are_what_they_were(moving_2px: Path) -> None:
    from dj_assets.video_run import measure_task
    from dj_assets_tests.operators.tasks import spec, task

    beside = ["video_duration_filter", "video_resolution_filter", "video_motion_dis_filter"]
    together = measure_task(task(moving_2px, *(spec(name) for name in [*beside, NAME]))).measured
    assert [one.values for one in together[:3]] == [measure(moving_2px, name).values for name in beside]
    assert together[3].window_details == (packets_md5(moving_2px),)
