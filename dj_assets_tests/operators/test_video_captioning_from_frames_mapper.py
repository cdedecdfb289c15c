"""video_captioning_from_frames_mapper: BLIP-2's words of each sampled frame, joined; of a model made in the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets import operators
from dj_assets.operators import _captions as captions
from dj_assets.operators import video_captioning_from_frames_mapper as mapper
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip, frames_of
from dj_assets_tests.operators.reading_bench import words

NAME = "video_captioning_from_frames_mapper"
TOKENS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.blip2(tmp_path_factory.mktemp("blip2"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "a.mp4")


def by_hand(model: Path, picture, beams: int = 1, prompt: str | None = None) -> list[str]:
    """One picture through transformers' own classes, as upstream calls them but for the lots."""
    import torch
    from PIL import Image
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    processor = Blip2Processor.from_pretrained(model)
    inputs = processor(images=Image.fromarray(picture), text=prompt, return_tensors="pt")
    network = Blip2ForConditionalGeneration.from_pretrained(model).eval()
    with torch.no_grad():
        found = network.generate(
            **inputs, max_new_tokens=TOKENS, do_sample=False, num_beams=beams, num_return_sequences=beams
        )
    return [text.strip().removeprefix(prompt or "").strip() for text in processor.batch_decode(found, True)]


@pytest.mark.parametrize("method", ["all_keyframes", "uniform"])
@pytest.mark.parametrize("prompt", [None, "question : describe the image answer :"])
def test_it_says_what_the_model_says_of_each_frame(model: Path, video: Path, method: str, prompt: str | None) -> None:
    said = [by_hand(model, picture, prompt=prompt)[0] for picture in frames_of(video, method)]
    assert len(said) == 3 and len(set(said)) > 1, "what it says hangs on what it sees"
    options = {"hf_img2seq": str(model), "max_new_tokens": TOKENS, "prompt": prompt, "frame_sampling_method": method}
    assert words(NAME, video, **options) == [". ".join(said)]
    assert words(NAME, video, **options) == words(NAME, video, **options), "the same again"


def test_candidates_are_beams_the_most_probable_first(model: Path, video: Path) -> None:
    of_frames = [by_hand(model, picture, beams=3) for picture in frames_of(video, "all_keyframes")]
    joined = [". ".join(each) for each in zip(*of_frames, strict=True)]
    options = {"hf_img2seq": str(model), "max_new_tokens": TOKENS, "caption_num": 3}
    assert words(NAME, video, keep_candidate_mode="all", **options) == joined
    assert words(NAME, video, keep_candidate_mode="random_any", **options) == joined[:1]
    for wanted in joined:
        text = f"<__dj__video> {wanted}<|__dj__eoc|>"
        assert words(NAME, video, text=text, keep_candidate_mode="similar_one_simhash", **options) == [wanted]


@pytest.mark.parametrize(("option", "flip"), [("horizontal_flip", np.fliplr), ("vertical_flip", np.flipud)])
def test_frames_are_flipped(model: Path, video: Path, option: str, flip) -> None:
    said = [by_hand(model, flip(picture).copy())[0] for picture in frames_of(video, "all_keyframes")]
    found = words(NAME, video, hf_img2seq=str(model), max_new_tokens=TOKENS, **{option: True})
    assert found == [". ".join(said)]


def test_frames_are_described_in_batches_that_change_nothing(model: Path) -> None:
    params = mapper.FramesCaptionParams(hf_img2seq=str(model), max_new_tokens=TOKENS)
    writer = mapper.load(params, "cpu")
    pictures = np.stack([tiny_models.picture(seed) for seed in range(5)])
    together = mapper.describe(pictures, params, writer)
    assert together == [mapper.describe(pictures[[k]], params, writer)[0] for k in range(5)]


@pytest.mark.parametrize(
    ("what", "options", "reads"),
    [
        ("one candidate", {"keep_candidate_mode": "similar_one_simhash"}, False),
        ("the most probable", {"caption_num": 2}, False),
        ("the most alike", {"caption_num": 2, "keep_candidate_mode": "similar_one_simhash"}, True),
    ],
)
def test_the_text_counts_where_candidates_are_compared_with_it(what: str, options: dict, reads: bool) -> None:
    declared = operators.get(NAME)
    assert declared.wants_text(declared.params(**options)) is reads  # type: ignore[attr-defined]


def test_fingerprints_of_texts_that_share_words_are_near() -> None:
    one, near, far = "a dog runs on the grass", "a dog runs on the sand", "two people play chess indoors"
    distances = [(captions.simhash(one) ^ captions.simhash(other)).bit_count() for other in (one, near, far)]
    assert distances[0] == 0 and distances[0] < distances[1] < distances[2]
    assert captions.simhash("word") == captions.simhash("") == 0, "no pair of words"
    # By hand: of one pair it is the first 64 bits of its MD5.
    assert captions.simhash("Hello  World") == 0x5EB63BBBE01EEED0


@pytest.mark.parametrize("option", ["prompt_key", "frame_field", "caption_field"])
def test_what_would_give_other_words_is_refused(option: str) -> None:
    assert option in operators.get(NAME).refused
