"""What holds for every mapper, whoever wrote it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets import operators
from dj_assets_tests import videos
from dj_assets_tests.benches import made, seen

NAMES = [name for name in operators.names() if operators.get(name).kind == "mapper"]

CHANGING: dict[str, dict[str, Any]] = {
    "video_split_by_duration_mapper": {"split_duration": 0.7},
    "video_split_by_key_frame_mapper": {},
    "video_split_by_scene_mapper": {"threshold": 10, "min_scene_len": 4},
    "video_resize_resolution_mapper": {"max_width": 64},
    "video_resize_aspect_ratio_mapper": {"max_ratio": "1/1", "strategy": "decrease"},
    "video_ffmpeg_wrapped_mapper": {"filter_name": "hflip"},
    "video_face_blur_mapper": {"radius": 4},
    "video_remove_watermark_mapper": {"roi_strings": ["0,0,0.5,0.5"], "min_frame_threshold": 1},
}
"""Mappers that give videos -> options by which they change the one of `two_scenes`."""


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 frames at 24 fps, 96x128 (h x w), a new texture with a key frame at frame 20; B-frames and AAC."""
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=20, pixels_per_frame=1)
    frames += [255 - frame for frame in videos.shifting(frames[0][::-1], num_frames=28, pixels_per_frame=1)]
    path = tmp_path_factory.mktemp("two") / "two_scenes.mp4"
    return videos.write_video(path, frames, options={"bf": "2", "g": "20", "sc_threshold": "0"}, with_audio=True)


@pytest.mark.parametrize("name", NAMES)
def test_is_a_full_declaration(name: str) -> None:
    mapper: Any = operators.get(name)
    assert (mapper.name, mapper.version >= 1, bool(mapper.summary)) == (name, True, True)
    assert len(set(mapper.option_names)) == len(mapper.option_names)
    for option, field in mapper.params.model_fields.items():
        assert field.description, option
    assert (Path(__file__).parent / f"test_{name}.py").exists()


@pytest.mark.parametrize("name", NAMES)
def test_params_survive_json_and_spelling_out_defaults_is_the_same_measure(name: str) -> None:
    mapper: Any = operators.get(name)
    params = mapper.params(**CHANGING.get(name, {}))
    again = mapper.params.model_validate_json(json.dumps(params.canonical()))
    assert mapper.measure_id(again, "cpu") == mapper.measure_id(params, "cpu")
    spelled_out = mapper.params(**json.loads(mapper.params().model_dump_json()))
    assert mapper.measure_id(spelled_out, "cpu") == mapper.measure_id(mapper.params(), "cpu")


@pytest.mark.parametrize("name", CHANGING)
def test_audio_packets_survive_and_stay_in_step(name: str, two_scenes: Path, tmp_path: Path) -> None:
    """Data-Juicer's face blur and watermark removal lose the sound."""
    products = made(name, two_scenes, tmp_path, **CHANGING[name])
    assert not any(product.is_parent for product in products)
    parent = seen(two_scenes)
    clips = [seen(product.path) for product in products]
    assert len(parent.audio) > 30
    assert [data for clip in clips for data in clip.audio_bytes] == parent.audio_bytes
    begins = [
        begin + Fraction(product.begin_seconds).limit_denominator(1000)
        for product, clip in zip(products, clips, strict=True)
        for _, begin in clip.audio
    ]
    off = [abs(found - begin) for found, (_, begin) in zip(begins, parent.audio, strict=True)]
    assert max(off) <= Fraction(1, 16_000)
    assert sum(len(clip.seconds) for clip in clips) == len(parent.seconds) == 48
    assert all(clip.seconds == parent.seconds[: len(clip.seconds)] for clip in clips)


@pytest.mark.parametrize("name", CHANGING)
def test_what_is_there_is_not_made_again(name: str, two_scenes: Path, tmp_path: Path) -> None:
    first = made(name, two_scenes, tmp_path, **CHANGING[name])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert made(name, two_scenes, tmp_path, **CHANGING[name]) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert {Path(product.path) for product in first} == set(before)


@pytest.mark.parametrize("name", CHANGING)
def test_one_frame_is_enough(name: str, tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "one.mp4", [np.full((36, 64, 3), 90, dtype=np.uint8)])
    products = made(name, path, tmp_path / "out", **CHANGING[name])
    assert [len(seen(product.path).seconds) for product in products] == [1]
