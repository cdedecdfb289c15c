"""Split by scene: the cuts are PySceneDetect's own, in the order of frames, whatever the batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenedetect
from pydantic import ValidationError

from dj_assets.operators import video_split_by_scene_mapper as split
from dj_assets.operators.video_split_by_scene_mapper import SplitBySceneParams
from dj_assets_tests import videos
from dj_assets_tests.benches import bench, made, seen

NAME = "video_split_by_scene_mapper"

DETECTORS: dict[str, dict[str, Any]] = {
    "content": {},
    "content, low and short": {"threshold": 5, "min_scene_len": 2},
    "brightness": {"luma_only": True, "threshold": 8},
    "weights and kernel": {"weights": [1, 0, 2, 1], "kernel_size": 7, "threshold": 12},
    "adaptive": {"detector": "AdaptiveDetector", "threshold": 3.0},
    "adaptive, wide": {"detector": "AdaptiveDetector", "threshold": 2, "window_width": 4, "min_content_val": 5},
    "fades": {"detector": "ThresholdDetector", "threshold": 40, "min_scene_len": 5},
    "fades, late": {"detector": "ThresholdDetector", "threshold": 40, "fade_bias": 1, "add_final_scene": True},
    "fades to bright": {"detector": "ThresholdDetector", "threshold": 120, "method": "CEILING"},
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of 24 frames at 24 fps, 120x320: two hard cuts, then a fade through black and one at the end."""
    rng = np.random.default_rng(3)
    frames: list[videos.Picture] = []
    for scene in range(4):
        colour = rng.integers(60, 200, 3)
        still = np.clip(videos.texture(height=120, width=320, seed=scene) * 0.3 + colour, 0, 255)
        frames += [np.roll(still, 2 * index, axis=1).astype(np.uint8) for index in range(24)]
    for begin in (66, 90):
        for offset, share in enumerate((0.7, 0.4, 0.1, 0.0, 0.0, 0.2)):
            frames[begin + offset] = (frames[begin + offset] * share).astype(np.uint8)
    return videos.write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames)


def cuts_of(path: Path, params: SplitBySceneParams, tmp_path: Path) -> list[int]:
    with bench(path, tmp_path) as at:
        return split.find_cuts(at, params)


def reference(path: Path, params: SplitBySceneParams) -> list[int]:
    scenes = scenedetect.detect(str(path), split.make_detector(params), start_in_scene=True)
    return [begin.frame_num for begin, _ in scenes][1:]


@pytest.mark.parametrize("name", DETECTORS)
def test_cuts_are_those_of_scenedetect(name: str, film: Path, tmp_path: Path) -> None:
    params = SplitBySceneParams(**DETECTORS[name])
    assert sorted(set(cuts_of(film, params, tmp_path))) == reference(film, params)


def test_hard_cuts_are_found_where_they_are(film: Path, tmp_path: Path) -> None:
    assert cuts_of(film, SplitBySceneParams(), tmp_path)[:2] == [24, 48]


def test_cuts_do_not_hang_on_batches(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cuts_of(film, SplitBySceneParams(detector="AdaptiveDetector", threshold=3), tmp_path)
    monkeypatch.setattr("dj_assets.video.decode.BATCH_BYTES", 1)
    from dj_assets.video import decode

    monkeypatch.setitem(decode.decode_windows.__kwdefaults__, "batch_bytes", 1)  # type: ignore[index]
    assert cuts_of(film, SplitBySceneParams(detector="AdaptiveDetector", threshold=3), tmp_path) == whole != []


def test_clips_are_cut_to_the_frame(film: Path, tmp_path: Path) -> None:
    products = made(NAME, film, tmp_path)
    clips = [seen(product.path) for product in products]
    assert [len(clip.seconds) for clip in clips[:2]] == [24, 24]
    assert sum(len(clip.seconds) for clip in clips) == 96
    # Every picture of a scene is like its first, and unlike the next scene's.
    for before, after in pairwise(clips[:3]):
        colour = before.pictures.mean(axis=(1, 2))
        assert np.ptp(colour, axis=0).max() < 6 < np.abs(colour[-1] - after.pictures[0].mean(axis=(0, 1))).max()


def test_a_video_of_one_scene_stays_as_it_is(tmp_path: Path) -> None:
    path = videos.write_video(
        tmp_path / "v.mp4", videos.shifting(videos.texture(height=64, width=96), num_frames=30, pixels_per_frame=1)
    )
    (product,) = made(NAME, path, tmp_path / "out")
    assert product.is_parent


def test_variable_frame_rates_are_cut_where_scenedetect_cuts(tmp_path: Path) -> None:
    """With a rate that varies, PySceneDetect counts scenes' lengths in time, not in pictures."""
    dark, bright = (np.full((90, 160, 3), level, dtype=np.uint8) for level in (30, 200))
    frames = [dark] * 20 + [bright] * 20 + [dark] * 20
    ticks = np.cumsum([0, *([1, 3] * 30)[:-1]]).tolist()
    path = videos.write_video(tmp_path / "vfr.mp4", frames, fps=48, pts=ticks)
    with bench(path, tmp_path) as at:
        found = split.find_cuts(at, SplitBySceneParams())
        seconds = at.info.pts_seconds[found].tolist()
    scenes = scenedetect.detect(str(path), split.make_detector(SplitBySceneParams()), start_in_scene=True)
    assert found == [20, 40]
    assert seconds == pytest.approx([begin.seconds for begin, _ in scenes][1:], abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"detector": "HashDetector"}, {"kernel_size": 4}, {"weights": [0, 0, 0, 0]}, {"weights": [1]}, {"fade_bias": 2}],
    ids=str,
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SplitBySceneParams(**options)


def test_options_of_another_detector_are_warned_of() -> None:
    assert SplitBySceneParams(fade_bias=0.5).warnings() == [
        "fade_bias: no option of ContentDetector, so without effect"
    ]
    assert not SplitBySceneParams(luma_only=True).warnings()


@pytest.mark.media
@pytest.mark.parametrize(
    ("clip", "options", "expected"),
    [
        ("video1", {}, [144, 237]),
        ("video2", {}, []),
        ("video1", {"detector": "AdaptiveDetector", "threshold": 3.0}, [144, 237]),
        ("video2", {"detector": "AdaptiveDetector", "threshold": 3.0}, []),
        ("video1", {"detector": "ThresholdDetector", "threshold": 12.0}, []),
        ("video2", {"detector": "ThresholdDetector", "threshold": 12.0}, []),
        ("video1", {"luma_only": True, "kernel_size": 5}, [237]),
        ("video2", {"luma_only": True, "kernel_size": 5}, []),
    ],
)
def test_cuts_are_those_of_data_juicer(
    clip: str, options: dict[str, Any], expected: list[int], media: Path, tmp_path: Path
) -> None:
    assert cuts_of(media / f"{clip}.mp4", SplitBySceneParams(**options), tmp_path) == expected
