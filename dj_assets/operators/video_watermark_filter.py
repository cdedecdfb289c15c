"""Keeps samples whose videos show a watermark with a probability of at most `prob_threshold`.

A classifier of the Hugging Face hub, by default amrul-hzz/watermark_detector (a ViT), looks at each sampled frame;
its second label is what is asked for.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dj_assets.frames import Windows
from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Bound, Device, Operator, Scores, Stat
from dj_assets.operators._weights import model_requirements, weights_of

STAT = "video_watermark_prob"


class WatermarkParams(frames.FrameParams):
    """Options that change the probability."""

    hf_watermark_model: str = Field(
        "amrul-hzz/watermark_detector", description="an image classifier of the hub, or its folder"
    )

    model_option: ClassVar[str] = "hf_watermark_model"


def load(params: WatermarkParams, device: Device) -> frames.Network:
    """The classifier. Raises `WeightsError`, `DeviceError`."""
    return frames.load_classifier(weights_of(params), device)


def score(windows: Windows, params: WatermarkParams, model: frames.Network) -> Scores:
    """Probability of each frame, 0 to 1. windows.data: uint8 [N, 1, H, W, 3]."""
    return Scores(frames.second_label(frames.pictures_of(windows), model))


OPERATOR = Operator(
    name="video_watermark_filter",
    version=1,
    summary="probability (0 to 1) that sampled frames show a watermark, by a classifier of the hub",
    compute="gpu",
    params=WatermarkParams,
    stats=(Stat(STAT, unit="probability", high=1.0),),
    bounds=(Bound("prob_threshold", STAT, "max", 0.8, help="a probability, 0 to 1"),),
    plan=frames.plan,
    load=load,
    requires=model_requirements,
    score=score,
    reduce_by=frames.reduce_by,
    device_moves_number=True,
    ignored=frames.IGNORED,
)
