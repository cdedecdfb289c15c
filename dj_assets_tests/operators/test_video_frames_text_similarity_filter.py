"""video_frames_text_similarity_filter: CLIP's logits of frames and text, by 100."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dj_assets.frames import Look, Windows
from dj_assets.operators import video_frames_text_similarity_filter as similarity
from dj_assets.operators._frame_models import ModelError
from dj_assets.video_run import measure_task
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip, frames_of
from dj_assets_tests.operators.tasks import spec, task

NAME = "video_frames_text_similarity_filter"
TEXTS = ["a red cat", "dogs, and a very long tale of them that no model reads to its end"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("video") / "a.mp4")


def by_hand(model: Path, pictures: list, text: str) -> list[float]:
    """As upstream: one call of the model for the text and all pictures, logits per text by 100."""
    import torch
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    network = CLIPModel.from_pretrained(model).eval()
    inputs = CLIPProcessor.from_pretrained(model)(
        text=text,
        images=[Image.fromarray(picture) for picture in pictures],
        return_tensors="pt",
        truncation=True,
        max_length=20,
        padding=True,
    )
    with torch.no_grad():
        return (network(**inputs).logits_per_text / 100.0)[0].tolist()


def measured(video: Path, *texts: str, **options) -> list:
    specs = [replace(spec(NAME, **options), text=text) for text in texts]
    found = measure_task(task(video, *specs)).measured
    assert not any(one.bug for one in found), found[0].bug
    return list(found)


@pytest.mark.parametrize("method", ["all_keyframes", "uniform"])
@pytest.mark.parametrize("text", TEXTS)
def test_it_is_that_of_one_call_as_upstream(model: Path, video: Path, method: str, text: str) -> None:
    expected = by_hand(model, frames_of(video, method), text)
    [found] = measured(video, text, hf_clip=str(model), frame_sampling_method=method)
    assert found.window_values == pytest.approx(expected, abs=1e-6)
    assert found.values == pytest.approx([np.mean(expected)], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "flip"),
    [
        ({"horizontal_flip": True}, np.fliplr),
        ({"vertical_flip": True}, np.flipud),
        ({"horizontal_flip": True, "vertical_flip": True}, lambda picture: np.rot90(picture, 2)),
    ],
)
def test_frames_are_flipped(model: Path, video: Path, options: dict, flip) -> None:
    plain = by_hand(model, frames_of(video, "all_keyframes"), TEXTS[0])
    flipped = by_hand(model, [flip(picture).copy() for picture in frames_of(video, "all_keyframes")], TEXTS[0])
    [found] = measured(video, TEXTS[0], hf_clip=str(model), **options)
    assert found.window_values == pytest.approx(flipped, abs=1e-6)
    assert flipped != pytest.approx(plain, abs=1e-6)


def test_one_video_with_two_texts_has_a_number_for_each_and_is_looked_at_once(model: Path, video: Path) -> None:
    expected = [np.mean(by_hand(model, frames_of(video, "all_keyframes"), text)) for text in TEXTS]
    seen: list[int] = []
    towers = similarity.load(similarity.SimilarityParams(hf_clip=str(model)), "cpu")
    inner = towers.network.module.get_image_features
    towers.network.module.get_image_features = lambda **inputs: (
        seen.append(len(inputs["pixel_values"])) or inner(**inputs)
    )
    pictures = np.stack(frames_of(video, "all_keyframes"))[:, None]
    number = np.arange(len(pictures))[:, None]
    found = [
        similarity.score(
            Windows(pictures, number, number / 10.0, Look("rgb24"), (text,) * len(pictures)),
            similarity.SimilarityParams(),
            towers,
        ).values.mean()
        for text in TEXTS
    ]
    assert found == pytest.approx(expected, abs=1e-6)
    assert seen == [3]
    assert [one.values[0] for one in measured(video, *TEXTS, hf_clip=str(model))] == pytest.approx(expected, abs=1e-6)


def test_frames_of_several_videos_with_several_texts_go_through_the_model_together(model: Path) -> None:
    towers = similarity.load(similarity.SimilarityParams(hf_clip=str(model)), "cpu")
    pictures = [tiny_models.picture(seed) for seed in (1, 2, 1)]
    texts = (TEXTS[0], TEXTS[1], TEXTS[1])
    number = np.arange(3)[:, None]
    found = similarity.score(
        Windows(np.stack(pictures)[:, None], number, number / 10.0, Look("rgb24"), texts),
        similarity.SimilarityParams(),
        towers,
    )
    alone = [by_hand(model, [picture], text)[0] for picture, text in zip(pictures, texts, strict=True)]
    np.testing.assert_allclose(found.values, alone, atol=1e-6)


def test_vectors_are_kept_up_to_a_number_those_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "KEPT_VECTORS", 2)
    known: OrderedDict = OrderedDict()
    asked: list[list[int]] = []

    def compute(places):
        asked.append([*places])
        return np.array([[float(place)] for place in places])

    similarity.remembered(known, [b"a", b"b", b"a"], compute)
    similarity.remembered(known, [b"a"], compute)
    similarity.remembered(known, [b"c", b"d", b"e"], compute)
    assert asked == [[0, 1], [0, 1, 2]] and list(known) == [b"d", b"e"]


def test_a_model_without_two_towers_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    tiny_models.vit(tmp_path)
    ViTModel(ViTConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="ViTModel"):
        similarity.load(similarity.SimilarityParams(hf_clip=str(tmp_path)), "cpu")
