"""video_watermark_filter: the probability of a classifier's second label, kept up to a threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip, frames_of
from dj_assets_tests.operators.tasks import measure

NAME = "video_watermark_filter"


@pytest.mark.parametrize("method", ["all_keyframes", "uniform"])
def test_it_is_that_of_each_frame_computed_alone(tmp_path: Path, method: str) -> None:
    import torch
    from transformers import ViTForImageClassification, ViTImageProcessor

    model = tiny_models.vit(tmp_path / "model", seed=3)
    video = clip(tmp_path / "a.mp4")
    network = ViTForImageClassification.from_pretrained(model).eval()
    processor = ViTImageProcessor.from_pretrained(model)
    with torch.no_grad():
        expected = [
            float(torch.softmax(network(**processor(images=picture, return_tensors="pt")).logits, dim=-1)[0, 1])
            for picture in frames_of(video, method)
        ]
    found = measure(video, NAME, hf_watermark_model=str(model), frame_sampling_method=method)
    assert found.window_values == pytest.approx(expected, abs=1e-6)
    assert found.values == pytest.approx([np.mean(expected)], abs=1e-6)


@pytest.mark.parametrize(("threshold", "value", "passes"), [(0.8, 0.8, True), (0.8, 0.81, False), (0.8, 0.0, True)])
def test_it_keeps_up_to_the_threshold_itself(tmp_path: Path, threshold: float, value: float, passes: bool) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n"
        f"  - {NAME}: {{prob_threshold: {threshold}, trust_remote_code: false}}\n"
    )
    [step] = make_plan(load_recipe(path)).steps
    [range_] = step.ranges
    assert step.stat_names == ("video_watermark_prob",)
    assert range_.passes(value) is passes
