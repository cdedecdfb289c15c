"""video_captioning_from_vlm_mapper: what a vision-language model says of a video; of a Qwen3-VL made in the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dj_assets.frames import Size, VideoInfo
from dj_assets.operators import video_captioning_from_vlm_mapper as vlm
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip
from dj_assets_tests.operators.reading_bench import words

NAME = "video_captioning_from_vlm_mapper"
TOKENS = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.qwen3_vl(tmp_path_factory.mktemp("qwen"))


def by_hand(model: Path, path: Path, prompt: str, *, system: str = "", beams: int = 1) -> list[str]:
    """Every frame by PyAV, handed over whole; the model's own processor samples them, in the one call that upstream
    makes."""
    import av
    import torch
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    asked = [{"type": "text", "text": prompt}, {"type": "video", "video": every.transpose(0, 3, 1, 2)}]
    told = {"total_num_frames": len(every), "fps": fps, "frames_indices": list(range(len(every)))}
    conversation = [{"role": "user", "content": asked}]
    if system:
        conversation.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    processor = AutoProcessor.from_pretrained(model)
    inputs = processor.apply_chat_template(
        conversation,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"videos_kwargs": {"video_metadata": [told], "do_sample_frames": True, "fps": 2}},
    )
    network = Qwen3VLForConditionalGeneration.from_pretrained(model).eval()
    with torch.no_grad():
        found = network.generate(
            **inputs, max_new_tokens=TOKENS, do_sample=False, num_beams=beams, num_return_sequences=beams
        )
    return processor.batch_decode(found[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(("num_frames", "seed"), [(10, 0), (37, 1), (37, 2)])
def test_it_says_what_the_model_says_in_upstreams_one_call(
    model: Path, tmp_path: Path, num_frames: int, seed: int
) -> None:
    video = clip(tmp_path / "a.mp4", num_frames=num_frames, seed=seed)
    [expected] = by_hand(model, video, vlm.PROMPT)
    assert expected
    options = {"hf_model": str(model), "max_new_tokens": TOKENS}
    assert words(NAME, video, **options) == [expected]
    assert words(NAME, video, **options) == [expected], "the same again"


def test_prompts_reach_the_model(model: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4")
    options = {"hf_model": str(model), "max_new_tokens": TOKENS}
    asked = words(NAME, video, prompt="describe the dog", system_prompt="a cat sits", **options)
    assert asked == by_hand(model, video, "describe the dog", system="a cat sits")
    assert asked != words(NAME, video, **options)


def test_candidates_are_beams_the_most_probable_first(model: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4")
    expected = by_hand(model, video, vlm.PROMPT, beams=3)
    options = {"hf_model": str(model), "max_new_tokens": TOKENS, "caption_num": 3}
    assert words(NAME, video, keep_candidate_mode="all", **options) == expected
    assert words(NAME, video, **options) == expected[:1]


def test_a_video_of_one_frame_is_described(model: Path, tmp_path: Path) -> None:
    [said] = words(NAME, clip(tmp_path / "a.mp4", num_frames=1), hf_model=str(model), max_new_tokens=TOKENS)
    assert said


def info(num_frames: int, fps: float) -> VideoInfo:
    return VideoInfo(Size(360, 640), fps, num_frames / fps, np.arange(num_frames) / fps, np.array([0]))


@pytest.mark.parametrize(
    ("num_frames", "fps", "options", "indices"),
    [
        (1, 24.0, {}, [0]),
        (3, 24.0, {}, [0, 1, 2]),
        (24, 24.0, {}, [0, 8, 15, 23]),
        (240, 24.0, {"sampling_fps": 0.5}, [0, 60, 120, 179, 239]),
        (240, 24.0, {"max_frames": 2}, [0, 239]),
    ],
)
def test_frames_are_those_of_the_models_own_processor(
    num_frames: int, fps: float, options: dict, indices: list[int]
) -> None:
    assert vlm.plan(info(num_frames, fps), vlm.VlmCaptionParams(**options)).windows[:, 0].tolist() == indices


@pytest.mark.parametrize(
    ("what", "size", "count", "expected"),
    [
        ("as it is", (360, 640), 100, (360, 640)),
        ("too large together", (1080, 1920), 768, (156, 278)),
        ("too thin", (2, 1000), 4, (10, 1000)),
        ("too thin and too large", (1, 8192), 768, (20, 2089)),
    ],
)
def test_pictures_are_handed_over_at_a_size_that_bounds_memory(
    what: str, size: tuple[int, int], count: int, expected: tuple[int, int]
) -> None:
    shown = vlm.shown_size(Size(*size), count)
    assert shown == expected
    assert count * shown.height * shown.width <= vlm.MOST_PIXELS


def test_vllm_is_refused() -> None:
    with pytest.raises(ValueError, match="models run by transformers"):
        vlm.VlmCaptionParams(enable_vllm=True)
