"""Gives each video a text: what a model says that looks at the whole of it.

By default Qwen/Qwen3-VL-8B-Instruct. Frames are sampled as that model's own processor does: so many a second, evenly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from dj_assets.errors import TooShort
from dj_assets.frames import FramePlan, Look, Size, VideoInfo
from dj_assets.operators import _captions as captions
from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Device
from dj_assets.operators._mapper import Bench, Mapper, Product
from dj_assets.operators._weights import model_requirements, weights_of

PROMPT = "Describe the input video in 1-2 sentences."

MOST_PIXELS = 2**25
"""Of all frames together, as they are handed over: no model looks at more, and it is 100 MB. Larger ones are scaled
down."""

MOST_ASPECT = 100
"""Thinner pictures are stretched to that: models refuse them."""

LEAST_FRAMES = 4
PAIR = 2
"""A model that looks at pairs of frames gets the same one twice of a video with one."""


class VlmCaptionParams(captions.CaptionParams):
    """Options that change the words."""

    hf_model: str = Field(
        "Qwen/Qwen3-VL-8B-Instruct", description="a model of the hub that describes videos, or its folder"
    )
    enable_vllm: bool = Field(False, description="false: vLLM is not used here")
    prompt: str | None = Field(None, description=f"what the model is asked; null: {PROMPT!r}")
    system_prompt: str | None = Field(None, description="what it is told before that, or null")
    sampling_fps: float = Field(2.0, gt=0, description="frames a second that it looks at, more than 0")
    max_frames: int = Field(768, ge=1, description="frames that it looks at, at most")

    model_option: ClassVar[str] = "hf_model"
    pins: ClassVar[Mapping[str, str]] = {"Qwen/Qwen3-VL-8B-Instruct": "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"}

    @field_validator("enable_vllm")
    @classmethod
    def _is_off(cls, enable_vllm: bool) -> bool:
        if enable_vllm:
            raise ValueError("models run by transformers")
        return enable_vllm


def plan(info: VideoInfo, params: VlmCaptionParams) -> FramePlan:
    """Frames evenly from first to last, `sampling_fps` of them a second, in RGB, turned as players do."""
    total = info.num_frames_from_scan
    if total < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    count = min(max(int(total / info.fps * params.sampling_fps), LEAST_FRAMES), params.max_frames, total)
    indices = np.linspace(0, total - 1, count).round().astype(np.int64)
    size = shown_size(info.displayed_size, count)
    look = Look("rgb24", None if size == info.displayed_size else size, apply_rotation=True)
    return FramePlan(indices.reshape(-1, 1), look)


def shown_size(size: Size, count: int) -> Size:
    """The size at which `count` frames are handed over: their own, unless they are too thin or too large together."""
    height, width = (max(side, math.ceil(max(size) / MOST_ASPECT)) for side in size)
    shrink = min(1.0, math.sqrt(MOST_PIXELS / (count * height * width)))
    return Size(max(1, int(height * shrink)), max(1, int(width * shrink)))


def load(params: VlmCaptionParams, device: Device) -> captions.Writer:
    """The model. Raises `WeightsError`, `DeviceError`."""
    return captions.load_writer(weights_of(params), device)


def make(bench: Bench, params: VlmCaptionParams, model: captions.Writer) -> Sequence[Product]:
    """What the model says of the video."""
    chosen = plan(bench.info, params)
    pictures = np.concatenate([frames.pictures_of(windows) for windows in bench.windows(chosen)])
    indices = [int(index) for index in chosen.windows[:, 0]]
    return captions.kept(describe(pictures, indices, bench.info, params, model), params, bench.text)


def describe(
    pictures: npt.NDArray[np.uint8],
    indices: Sequence[int],
    info: VideoInfo,
    params: VlmCaptionParams,
    model: captions.Writer,
) -> list[str]:
    """Candidates for a video. pictures: uint8 [N, H, W, 3]. indices: of these frames."""
    if len(pictures) < PAIR:
        pictures, indices = np.repeat(pictures, PAIR, axis=0), [*indices] * PAIR
    asked = model.processor.apply_chat_template(messages(params), tokenize=False, add_generation_prompt=True)
    told = {
        "total_num_frames": info.num_frames_from_scan,
        "fps": info.fps,
        "duration": info.duration_seconds,
        "frames_indices": [*indices],
        "height": pictures.shape[1],
        "width": pictures.shape[2],
    }
    inputs = model.processor(
        text=[asked],
        videos=[pictures.transpose(0, 3, 1, 2).copy()],
        video_metadata=[told],
        do_sample_frames=False,
        input_data_format="channels_first",
        return_tensors="pt",
    )
    [candidates] = model.write(inputs, params)
    return candidates


def messages(params: VlmCaptionParams) -> list[dict[str, Any]]:
    """The conversation that the model is to go on with."""
    question = [{"type": "text", "text": params.prompt or PROMPT}, {"type": "video"}]
    system = [{"role": "system", "content": [{"type": "text", "text": params.system_prompt}]}]
    return [*(system if params.system_prompt else []), {"role": "user", "content": question}]


OPERATOR = Mapper(
    name="video_captioning_from_vlm_mapper",
    version=1,
    summary="a text for each video: what a vision-language model says that looks at the whole of it",
    compute="gpu",
    role="words",
    params=VlmCaptionParams,
    make=make,
    load=load,
    requires=model_requirements,
    keeps_original="keep_original_sample",
    reads_text=True,
    reads_text_if=captions.compares_texts,
    device_moves_result=True,
    ignored=captions.IGNORED,
    refused={name: captions.REFUSED[name] for name in ("prompt_key", "sampling_params", "model_params")},
)
