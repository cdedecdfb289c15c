"""video_aesthetics_filter: CLIP's picture tower, a head of LAION's, marks divided by 10."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dj_assets.operators import video_aesthetics_filter as aesthetics
from dj_assets.operators._weights import WeightsError
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip, frames_of
from dj_assets_tests.operators.tasks import measure

NAME = "video_aesthetics_filter"

LAYERS = {
    "AestheticsPredictorV1": {"predictor": (1, 12)},
    "AestheticsPredictorV2Linear": {
        "layers.0": (1024, 12),
        "layers.2": (128, 1024),
        "layers.4": (64, 128),
        "layers.6": (16, 64),
        "layers.7": (1, 16),
    },
    "AestheticsPredictorV2ReLU": {
        "layers.0": (1024, 12),
        "layers.3": (128, 1024),
        "layers.6": (64, 128),
        "layers.9": (16, 64),
        "layers.11": (1, 16),
    },
}
"""architecture -> the head's layers as published weights name them, and their shapes."""


def predictor(folder: Path, kind: str, *, named: bool = True) -> Path:
    """A predictor written as its file holds it, name by name, by no code of ours."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(1)
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**tiny_models.clip_vision_config()))
    tower.save_pretrained(folder)
    weights = {f"{name}": value.clone() for name, value in tower.state_dict().items()}
    for name, shape in LAYERS[kind].items():
        weights[f"{name}.weight"] = torch.randn(shape) / shape[1] ** 0.5
        weights[f"{name}.bias"] = torch.randn(shape[0])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [kind] if named else ["CLIPVisionModelWithProjection"]
    (folder / "config.json").write_text(json.dumps(config))
    tiny_models.clip_processor(folder)
    return folder


def by_hand(folder: Path, kind: str, pictures: list) -> list[float]:
    """The mark of each picture by plain arithmetic over the file's tensors, divided by 10."""
    import torch
    from safetensors.torch import load_file
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    weights = load_file(folder / "model.safetensors")
    tower = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    processor = CLIPImageProcessor.from_pretrained(folder)
    marks = []
    for picture in pictures:
        with torch.no_grad():
            seen = tower(processor(images=picture, return_tensors="pt")["pixel_values"]).image_embeds[0].numpy()
        seen = seen / np.linalg.norm(seen)
        names = [*LAYERS[kind]]
        for name in names:
            seen = weights[f"{name}.weight"].numpy() @ seen + weights[f"{name}.bias"].numpy()
            if kind.endswith("ReLU") and name != names[-1]:
                seen = np.maximum(seen, 0)
        marks.append(float(seen[0]) / 10)
    return marks


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "a.mp4")


@pytest.mark.parametrize("kind", [*LAYERS])
@pytest.mark.parametrize("method", ["all_keyframes", "uniform"])
def test_it_is_that_of_each_frame_computed_by_hand(tmp_path: Path, video: Path, kind: str, method: str) -> None:
    folder = predictor(tmp_path / "model", kind)
    expected = by_hand(folder, kind, frames_of(video, method))
    assert len(set(expected)) == 3
    found = measure(video, NAME, hf_scorer_model=str(folder), frame_sampling_method=method)
    assert found.window_values == pytest.approx(expected, abs=1e-5)
    assert found.values == pytest.approx([np.mean(expected)], abs=1e-5)


def test_uniform_sampling_is_the_default() -> None:
    assert aesthetics.AestheticsParams().frame_sampling_method == "uniform"


def test_the_default_model_has_one_measure_however_it_is_named() -> None:
    ids = {
        aesthetics.OPERATOR.measure_id(aesthetics.AestheticsParams(hf_scorer_model=name), "cpu")
        for name in ("", aesthetics.DEFAULT)
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a-v1-b", "AestheticsPredictorV1"),
        ("a-v2-linearMSE", "AestheticsPredictorV2Linear"),
        ("a-v2-reluMSE", "AestheticsPredictorV2ReLU"),
    ],
)
def test_where_the_configuration_says_nothing_the_name_decides_as_upstream(
    tmp_path: Path, name: str, expected: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert aesthetics.head_of(tmp_path, name) == expected
    with pytest.raises(WeightsError, match="no aesthetics predictor"):
        aesthetics.head_of(tmp_path, "openai/clip")


def test_a_head_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = predictor(tmp_path, "AestheticsPredictorV1")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["AestheticsPredictorV2Linear"]}))
    with pytest.raises(WeightsError, match="lacks 10 of the weights"):
        aesthetics.load(aesthetics.AestheticsParams(hf_scorer_model=str(folder)), "cpu")
