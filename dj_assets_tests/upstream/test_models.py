"""What upstream's unit tests of filters with models expect of the tutorial's clips, where a machine has the weights.

Rows that speak of other clips are left out: what a model says of pictures cannot be stood in for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets_tests.upstream.project import Project, skip_unless_built

RAFT = "video_motion_score_raft_filter"
AESTHETICS = "video_aesthetics_filter"
NSFW = "video_nsfw_filter"
WATERMARK = "video_watermark_filter"

SINGLE = (("v1",), ("v2",))
BOTH = (("v1", "v2"),)
KEY_FRAMES = {"frame_sampling_method": "all_keyframes"}
UNIFORM_3 = {"frame_sampling_method": "uniform", "frame_num": 3}
UNIFORM_5 = {"frame_sampling_method": "uniform", "frame_num": 5}

ROWS = [
    pytest.param(RAFT, {}, SINGLE, [1, 2], id="raft, default"),
    pytest.param(RAFT, {"min_score": 1.0, "size": 128}, SINGLE, [1, 2], id="raft, short side 128"),
    pytest.param(RAFT, {"min_score": 1.0, "size": 256, "max_size": 256}, SINGLE, [1, 2], id="raft, long side 256"),
    pytest.param(RAFT, {"min_score": 0.005, "size": [128, 160], "relative": True}, SINGLE, [1, 2], id="raft, relative"),
    pytest.param(RAFT, {"min_score": 10.0}, SINGLE, [1, 2], id="raft, at least 10"),
    pytest.param(RAFT, {"min_score": 0.0, "max_score": 3.0}, SINGLE, [], id="raft, at most 3"),
    pytest.param(RAFT, {"min_score": 3.0, "max_score": 10.2}, SINGLE, [2], id="raft, 3 to 10.2"),
    pytest.param(RAFT, {"min_score": 3.0, "max_score": 10.2, "any_or_all": "any"}, BOTH, [1], id="raft, any"),
    pytest.param(RAFT, {"min_score": 3.0, "max_score": 10.2, "any_or_all": "all"}, BOTH, [], id="raft, all"),
    pytest.param(AESTHETICS, {}, SINGLE[:1], [1], id="aesthetics, default"),
    pytest.param(AESTHETICS, {"max_score": 0.45}, SINGLE[:1], [1], id="aesthetics, at most"),
    pytest.param(AESTHETICS, {"min_score": 0.415}, SINGLE[:1], [1], id="aesthetics, at least"),
    pytest.param(
        AESTHETICS, {"min_score": 0.411, "max_score": 0.45, **KEY_FRAMES}, SINGLE[:1], [1], id="aesthetics, key frames"
    ),
    pytest.param(
        AESTHETICS, {"min_score": 0.41, "max_score": 0.48, **UNIFORM_5}, SINGLE[:1], [1], id="aesthetics, five frames"
    ),
    pytest.param(AESTHETICS, {"min_score": 0.43, **UNIFORM_3}, SINGLE[:1], [], id="aesthetics, 0.419 of three frames"),
    pytest.param(NSFW, {"max_score": 0.1, **KEY_FRAMES}, SINGLE, [2], id="nsfw, key frames"),
    pytest.param(NSFW, {"max_score": 0.1, **UNIFORM_3}, SINGLE, [2], id="nsfw, three frames"),
    pytest.param(NSFW, {"max_score": 0.9, "reduce_mode": "max"}, SINGLE, [2], id="nsfw, the worst frame"),
    pytest.param(NSFW, {"max_score": 0.0004, "reduce_mode": "min"}, SINGLE, [1], id="nsfw, the best frame"),
    pytest.param(NSFW, {"max_score": 0.01, "any_or_all": "any"}, BOTH, [], id="nsfw, any"),
    pytest.param(NSFW, {"max_score": 0.1, "any_or_all": "all"}, BOTH, [], id="nsfw, all"),
    pytest.param(WATERMARK, {"prob_threshold": 0.8, **KEY_FRAMES}, SINGLE, [], id="watermark, key frames"),
    pytest.param(WATERMARK, {"prob_threshold": 0.8, **UNIFORM_3}, SINGLE, [], id="watermark, three frames"),
    pytest.param(WATERMARK, {"prob_threshold": 0.9, "reduce_mode": "max"}, SINGLE, [], id="watermark, worst frame"),
    pytest.param(WATERMARK, {"prob_threshold": 0.85, "reduce_mode": "min"}, SINGLE, [2], id="watermark, best frame"),
    pytest.param(WATERMARK, {"prob_threshold": 0.8, "any_or_all": "any"}, BOTH, [], id="watermark, any"),
]


def skip_without_weights(folder: Path, step: dict[str, Any]) -> None:
    """Skip the test where this machine has not what the step's model needs."""
    path = folder / "asked.yaml"
    path.write_text(yaml.safe_dump({"dataset_path": "ds.jsonl", "process": [step]}), encoding="utf-8")
    [asked] = make_plan(load_recipe(str(path))).steps
    if asked.lacks is not None:
        pytest.skip(asked.lacks.given)


@pytest.mark.media
@pytest.mark.parametrize(("operator", "options", "rows", "kept"), ROWS)
def test_what_models_keep(
    project: Project,
    media: Path,
    tmp_path: Path,
    operator: str,
    options: dict[str, Any],
    rows: tuple[tuple[str, ...], ...],
    kept: list[int],
) -> None:
    skip_unless_built(operator)
    skip_without_weights(tmp_path, {operator: options})
    both = {name: media / f"video{name[1]}.mp4" for name in ("v1", "v2")}
    assert replace(project, clips=both).kept([{operator: options}], rows) == kept
