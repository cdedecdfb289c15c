"""Gives each video a text: what a model says of its sampled frames, one after the other.

By default BLIP-2 (Li et al., ICML 2023) on OPT, Salesforce/blip2-opt-2.7b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from dj_assets.operators import _captions as captions
from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Device
from dj_assets.operators._mapper import Bench, Mapper, Product
from dj_assets.operators._weights import model_requirements, weights_of

BATCH_PICTURES = {"cpu": 2, "cuda": 16}
"""Described at once; each beam of each takes memory of its own."""

BETWEEN_FRAMES = ". "


class FramesCaptionParams(captions.CaptionParams, frames.SampledParams):
    """Options that change the words."""

    hf_img2seq: str = Field(
        "Salesforce/blip2-opt-2.7b", description="a model of the hub that describes pictures, or its folder"
    )
    prompt: str | None = Field(None, description="what the model is asked of each frame; null: nothing")
    horizontal_flip: bool = Field(False, description="true: frames are mirrored, left to right")
    vertical_flip: bool = Field(False, description="true: frames are turned over, top to bottom")
    text_update_strategy: Literal["rewrite"] = Field("rewrite", description="rewrite: the words are the new text")

    model_option: ClassVar[str] = "hf_img2seq"
    pins: ClassVar[Mapping[str, str]] = {"Salesforce/blip2-opt-2.7b": "59a1ef6c1e5117b3f65523d1c6066825bcf315e3"}


def load(params: FramesCaptionParams, device: Device) -> captions.Writer:
    """The model. Raises `WeightsError`, `DeviceError`."""
    return captions.load_writer(weights_of(params), device)


def make(bench: Bench, params: FramesCaptionParams, model: captions.Writer) -> Sequence[Product]:
    """Candidate k of a video is candidate k of each of its frames, joined."""
    of_frames: list[list[str]] = []
    for windows in bench.windows(frames.plan(bench.info, params)):
        pictures = frames.pictures_of(windows)
        for batch in frames.in_batches(pictures, BATCH_PICTURES[model.device]):
            of_frames += describe(batch, params, model)
    candidates = [BETWEEN_FRAMES.join(each) for each in zip(*of_frames, strict=True)]
    return captions.kept(candidates, params, bench.text)


def describe(pictures: frames.Pictures, params: FramesCaptionParams, model: captions.Writer) -> list[list[str]]:
    """Candidates for each picture, uint8 [N, H, W, 3]."""
    if params.horizontal_flip:
        pictures = pictures[:, :, ::-1]
    if params.vertical_flip:
        pictures = pictures[:, ::-1]
    asked: dict[str, Any] = {} if not params.prompt else {"text": [params.prompt] * len(pictures)}
    inputs = model.processor(
        images=[np.ascontiguousarray(picture).copy() for picture in pictures],
        return_tensors="pt",
        input_data_format="channels_last",
        **asked,
    )
    return model.write(inputs, params)


OPERATOR = Mapper(
    name="video_captioning_from_frames_mapper",
    version=1,
    summary="a text for each video: what an image-to-text model says of sampled frames",
    compute="gpu",
    role="words",
    params=FramesCaptionParams,
    make=make,
    load=load,
    requires=model_requirements,
    keeps_original="keep_original_sample",
    reads_text=True,
    reads_text_if=captions.compares_texts,
    device_moves_result=True,
    ignored=captions.IGNORED,
    refused={name: captions.REFUSED[name] for name in ("prompt_key", "frame_field", "caption_field")},
)
