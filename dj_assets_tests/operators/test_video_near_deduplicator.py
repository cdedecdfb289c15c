"""Near copies: re-encodes, resizes and slight crops of a clip are found, other clips are not; and which copy stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets.frames import Windows
from dj_assets.operators import video_near_deduplicator as near
from dj_assets.operators._whole import Applicant
from dj_assets_tests.operators.candidates import applicant, chosen, kept
from dj_assets_tests.operators.tasks import measure
from dj_assets_tests.videos import Picture, texture, write_video

NAME = "video_near_deduplicator"
HEIGHT, WIDTH = 180, 320


def scene(seed: int, *, num_frames: int = 48) -> list[Picture]:
    """A made clip: blobs of several sizes that drift over a gradient, each clip with its own."""
    import cv2

    rng = np.random.default_rng(seed)
    blobs = [
        (rng.uniform(0, 1, 2), rng.uniform(-0.3, 0.3, 2), rng.uniform(0.08, 0.3), rng.integers(0, 255, 3).tolist())
        for _ in range(9)
    ]
    low, high = rng.integers(20, 230, 2)
    frames = []
    for index in range(num_frames):
        ramp = np.linspace(low, high, WIDTH).astype(np.uint8)
        picture = np.ascontiguousarray(np.repeat(np.repeat(ramp[None, :, None], HEIGHT, axis=0), 3, axis=2))
        for place, pace, size, colour in blobs:
            across, down = (place + pace * index / num_frames) % 1.0
            cv2.circle(picture, (int(across * WIDTH), int(down * HEIGHT)), int(size * HEIGHT), colour, -1)
        frames.append(cv2.GaussianBlur(picture, (0, 0), 1.5))
    return frames


def resized(share: float) -> Callable[[Picture], Picture]:
    import cv2

    def change(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        return cv2.resize(picture, (int(width * share) // 2 * 2, int(height * share) // 2 * 2))

    return change


def cropped(share: float) -> Callable[[Picture], Picture]:
    """So much cut off at each side."""

    def change(picture: Picture) -> Picture:
        down, across = int(HEIGHT * share) // 2 * 2, int(WIDTH * share) // 2 * 2
        return picture[down : HEIGHT - down, across : WIDTH - across]

    return change


def brighter(picture: Picture) -> Picture:
    return np.clip(picture.astype(np.int16) + 20, 0, 255).astype(np.uint8)


CHANGES: dict[str, tuple[Callable[[Picture], Picture], dict[str, Any]]] = {
    "re-encoded": (lambda picture: picture, {"options": {"crf": "38"}}),
    "another codec": (lambda picture: picture, {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "crf": "45"}}),
    "half the size": (resized(0.5), {}),
    "a third of the size, coarse": (resized(0.34), {"options": {"crf": "40"}}),
    "larger": (resized(1.5), {}),
    "cropped by 2 % a side": (cropped(0.02), {}),
    "brighter": (brighter, {}),
}


def sample(number: int, path: Path) -> Applicant:
    measured = measure(path, NAME)
    assert measured.status == "ok", measured.reason
    return applicant(number, videos=[(path.name, measured.window_details)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("near")


@pytest.fixture(scope="module")
def originals(folder: Path) -> list[Applicant]:
    """Twelve other clips, of equal length."""
    return [sample(seed + 1, write_video(folder / f"scene{seed}.mp4", scene(seed))) for seed in range(12)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_no_other_clip_is_taken_for_one(
    change: str, folder: Path, originals: list[Applicant]
) -> None:
    alter, how = CHANGES[change]
    suffix = ".webm" if "codec" in how else ".mp4"
    copies = [
        sample(100 + seed, write_video(folder / f"{seed}-{change}{suffix}", map(alter, scene(seed)), **how))
        for seed in range(3)
    ]
    found = chosen(NAME, [*originals, *copies])
    assert found.of == {f"s{100 + seed}": f"s{seed + 1}" for seed in range(3)}


def test_twelve_other_clips_are_no_copies_of_each_other(originals: list[Applicant]) -> None:
    assert len(kept(NAME, originals, max_distance=16)) == 12


def test_a_mirror_picture_and_the_same_played_backwards_are_other_clips(
    folder: Path, originals: list[Applicant]
) -> None:
    mirrored = write_video(folder / "mirrored.mp4", [np.ascontiguousarray(frame[:, ::-1]) for frame in scene(0)])
    backwards = write_video(folder / "backwards.mp4", scene(0)[::-1])
    assert not chosen(NAME, [originals[0], sample(90, mirrored), sample(91, backwards)]).dropped


def test_a_flat_picture_has_no_hash_and_black_clips_are_no_copies(folder: Path) -> None:
    black = [
        sample(n, write_video(folder / f"black{n}.mp4", [np.full((64, 64, 3), 16 * n, np.uint8)] * 24)) for n in (1, 2)
    ]
    assert [json.loads(text)["phash"] for text in black[0].details[0]] == [None] * 8
    assert kept(NAME, black) == [1, 2]


def test_a_ramp_has_no_hash_since_all_ramps_would_be_copies() -> None:
    assert near.phash(np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8)) is None


# --- the hash itself


def test_the_hash_is_64_bits_of_which_half_are_set_and_the_mean_never_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = near.phash(rng.integers(0, 256, (90, 160), dtype=np.uint8))
        assert found is not None and len(found) == 16
        bits = int(found, 16)
        assert bits.bit_count() in (31, 32) and not bits >> 63


def test_the_hash_is_that_of_a_cosine_transform_by_hand() -> None:
    def cosines(size: int) -> np.ndarray:
        rows, columns = np.arange(size)[:, None], np.arange(size)
        waves = np.cos(np.pi * (2 * columns + 1) * rows / (2 * size)) * np.sqrt(2 / size)
        waves[0] /= np.sqrt(2)
        return waves

    picture = np.random.default_rng(5).integers(0, 256, (64, 96), dtype=np.uint8)
    small = picture.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    lowest = (cosines(32) @ small @ cosines(32).T)[:8, :8].ravel()
    bits = lowest > np.median(lowest[1:])
    assert near.phash(picture) == np.packbits([False, *bits[1:]]).tobytes().hex()


def test_details_tell_of_each_frame_whatever_the_batches() -> None:
    pictures = np.stack([texture(height=40, width=60, seed=seed)[..., 0] for seed in range(4)])[:, None]
    seconds = np.arange(4.0)[:, None]
    whole = near.score(Windows(pictures, np.arange(4)[:, None], seconds), near.NearMeasureParams(), None)
    halves = [
        near.score(Windows(pictures[part], np.arange(4)[part, None], seconds[part]), near.NearMeasureParams(), None)
        for part in (slice(0, 1), slice(1, 4))
    ]
    assert whole.details == halves[0].details + halves[1].details
    assert json.loads(whole.details[2]) == {
        "phash": near.phash(pictures[2, 0]),
        "seconds": 2.0,
        "height": 40,
        "width": 60,
    }


# --- which copy stays


def video(code: int, *, seconds: float = 10.0, height: int = 360, width: int = 640, frames: int = 8) -> list[str]:
    """Details of a video whose frames all have this hash."""
    times = np.linspace(0, seconds, frames).tolist()
    return [json.dumps({"phash": f"{code:016x}", "seconds": at, "height": height, "width": width}) for at in times]


def samples(*listed: Sequence[list[str]]) -> list[Applicant]:
    return [
        applicant(number, videos=[(f"{number}-{place}.mp4", one) for place, one in enumerate(videos)])
        for number, videos in enumerate(listed, start=1)
    ]


A, B, FAR = 0x0, 0xFF, 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("keep", "expected", "why"),
    [
        ("first", [1], "comes first"),
        ("highest_resolution", [2], "has more pixels (1280x720)"),
        ("longest", [3], "is longer (10.4 s)"),
    ],
)
def test_the_copy_that_stays_is_the_one_asked_for_and_the_reason_says_so(
    keep: str, expected: list[int], why: str
) -> None:
    three = samples([video(A)], [video(B, height=720, width=1280)], [video(0xF, seconds=10.4)])
    found = chosen(NAME, three, keep=keep)
    assert kept(NAME, three, keep=keep) == expected
    assert all(reason.endswith(f"which {why}") for reason in found.dropped.values())
    assert set(found.of.values()) == {f"s{expected[0]}"}


def test_of_equal_copies_the_first_stays_whatever_is_asked_for() -> None:
    two = samples([video(A)], [video(A)])
    for keep in ("first", "highest_resolution", "longest"):
        assert chosen(NAME, two, keep=keep).dropped == {
            "s2": "a near copy of s1, 0 of 64 bits apart, which comes first"
        }


def test_copies_of_copies_are_no_chain() -> None:
    """0, 8 and 16 bits: the last is near the second, but that one does not stay."""
    assert kept(NAME, samples([video(0x0)], [video(0xFF)], [video(0xFFFF)])) == [1, 3]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 3]),
        ({"max_distance": 7.9}, [1, 2, 3]),
        ({"max_distance": 20}, [1, 3]),
        ({"max_distance": 0}, [1, 2, 3]),
    ],
    ids=str,
)
def test_the_threshold_is_a_bound_that_counts_itself(options: dict, expected: list[int]) -> None:
    assert kept(NAME, samples([video(A)], [video(B)], [video(FAR)]), **options) == expected


@pytest.mark.parametrize(
    ("seconds", "options", "expected"),
    [
        (10.5, {}, [1]),
        (10.6, {}, [1, 2]),
        (12.0, {"max_duration_gap": 0.2}, [1]),
        (10.5, {"max_duration_gap": 0}, [1]),
        (10.6, {"max_duration_gap": 0}, [1, 2]),
    ],
    ids=str,
)
def test_videos_of_other_lengths_are_no_copies(seconds: float, options: dict, expected: list[int]) -> None:
    assert kept(NAME, samples([video(A)], [video(A, seconds=seconds)]), **options) == expected


def test_of_several_videos_each_must_be_a_copy_in_order() -> None:
    listed = ([video(A), video(FAR)], [video(B), video(FAR)], [video(FAR), video(A)], [video(A)], [])
    assert kept(NAME, samples(*listed)) == [1, 3, 4, 5]


def test_half_of_the_frames_without_a_hash_may_be_left_out() -> None:
    def lacking(details: list[str], count: int) -> list[str]:
        frames: Iterator[dict] = map(json.loads, details)
        return [json.dumps({**one, "phash": None} if n < count else one) for n, one in enumerate(frames)]

    assert kept(NAME, samples([video(A)], [lacking(video(A), 4)])) == [1]
    assert kept(NAME, samples([video(A)], [lacking(video(A), 5)])) == [1, 2]


def test_moving_the_threshold_measures_nothing_anew() -> None:
    operator = near.OPERATOR
    assert operator.measure is not None
    assert set(operator.measure.params.model_fields) == {"frame_sample_num"}
    ids = {operator.rule_id(operator.params(max_distance=distance)) for distance in (4, 8)}
    assert len(ids) == 2
