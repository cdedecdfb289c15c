"""video_nsfw_filter: the probability of a classifier's second label, over the sampled frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets.frames import Look, Windows
from dj_assets.operators import video_nsfw_filter as nsfw
from dj_assets.operators._frame_models import ModelError
from dj_assets.operators._weights import WeightsError
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip, frames_of
from dj_assets_tests.operators.tasks import measure

NAME = "video_nsfw_filter"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "a.mp4")


def by_hand(model: Path, pictures: list) -> list[float]:
    """As upstream computes it, a frame at a time, from PIL pictures."""
    import torch
    from PIL import Image
    from transformers import ViTForImageClassification, ViTImageProcessor

    network = ViTForImageClassification.from_pretrained(model).eval()
    processor = ViTImageProcessor.from_pretrained(model)
    with torch.no_grad():
        inputs = [processor(images=Image.fromarray(picture), return_tensors="pt") for picture in pictures]
        return [float(torch.softmax(network(**one).logits, dim=-1)[0, 1]) for one in inputs]


@pytest.mark.parametrize(
    ("method", "count", "num_frames"),
    [("all_keyframes", 3, 3), ("uniform", 3, 3), ("uniform", 1, 1), ("uniform", 99, 9)],
)
def test_it_is_that_of_each_frame_computed_alone(
    model: Path, video: Path, method: str, count: int, num_frames: int
) -> None:
    expected = by_hand(model, frames_of(video, method, count))
    assert len(expected) == num_frames
    found = measure(video, NAME, hf_nsfw_model=str(model), frame_sampling_method=method, frame_num=count)
    assert found.window_values == pytest.approx(expected, abs=1e-6)
    assert found.values == pytest.approx([np.mean(expected)], abs=1e-6)


@pytest.mark.parametrize(("mode", "reduce"), [("avg", np.mean), ("max", np.max), ("min", np.min)])
def test_frames_are_reduced_as_asked(model: Path, video: Path, mode: str, reduce) -> None:
    found = measure(video, NAME, hf_nsfw_model=str(model), reduce_mode=mode)
    assert len(set(found.window_values)) > 1
    assert found.values == (reduce(found.window_values),)


def test_frames_are_looked_at_in_batches_that_change_nothing(model: Path) -> None:
    params = nsfw.NsfwParams(hf_nsfw_model=str(model))
    network = nsfw.load(params, "cpu")
    data = np.stack([tiny_models.picture(seed) for seed in range(19)])[:, None]
    number = np.arange(19)[:, None]
    sizes = []
    inner = network.module.forward
    network.module.forward = lambda **inputs: sizes.append(len(inputs["pixel_values"])) or inner(**inputs)
    together = nsfw.score(Windows(data, number, number / 24, Look("rgb24")), params, network).values
    assert sizes == [8, 8, 3]
    alone = [
        nsfw.score(Windows(data[[k]], number[[k]], number[[k]] / 24, Look("rgb24")), params, network).values[0]
        for k in range(19)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_no_gradient_is_kept(model: Path) -> None:
    import torch

    params = nsfw.NsfwParams(hf_nsfw_model=str(model))
    network = nsfw.load(params, "cpu")
    seen = []
    inner = network.module.forward
    network.module.forward = lambda **inputs: seen.append(torch.is_grad_enabled()) or inner(**inputs)
    data = tiny_models.picture(0)[None, None]
    nsfw.score(Windows(data, np.array([[0]]), np.array([[0.0]]), Look("rgb24")), params, network)
    assert seen == [False] and not network.module.training


def test_how_many_frames_uniform_sampling_would_take_does_not_matter_for_key_frames() -> None:
    ids = {
        (method, count): nsfw.OPERATOR.measure_id(nsfw.NsfwParams(frame_sampling_method=method, frame_num=count), "cpu")
        for method in ("all_keyframes", "uniform")
        for count in (3, 4)
    }
    assert ids["all_keyframes", 3] == ids["all_keyframes", 4]
    assert len(set(ids.values())) == 3


def test_a_classifier_of_one_label_is_refused(tmp_path: Path, video: Path) -> None:
    model = nsfw.load(nsfw.NsfwParams(hf_nsfw_model=str(tiny_models.vit(tmp_path, num_labels=1))), "cpu")
    data = tiny_models.picture(0)[None, None]
    with pytest.raises(ModelError, match="1 label"):
        nsfw.score(Windows(data, np.array([[0]]), np.array([[0.0]]), Look("rgb24")), nsfw.NsfwParams(), model)


def test_weights_that_are_made_up_are_refused(tmp_path: Path) -> None:
    """A folder with a ViT and no classifier: transformers would put random numbers there, and log a line."""
    import torch
    from transformers import ViTConfig, ViTModel

    tiny_models.vit(tmp_path)
    torch.manual_seed(0)
    ViTModel(ViTConfig.from_pretrained(tmp_path), add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"lacks 2 of the weights .* classifier\.bias, classifier\.weight"):
        nsfw.load(nsfw.NsfwParams(hf_nsfw_model=str(tmp_path)), "cpu")


def test_a_damaged_file_is_told_with_its_folder(tmp_path: Path) -> None:
    (tiny_models.vit(tmp_path) / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        nsfw.load(nsfw.NsfwParams(hf_nsfw_model=str(tmp_path)), "cpu")
