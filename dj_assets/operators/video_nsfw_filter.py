"""Keeps samples whose videos look not safe for work with a probability of `min_score` to `max_score`.

A classifier of the Hugging Face hub, by default Falconsai/nsfw_image_detection (a ViT), looks at each sampled frame;
its second label is what is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from dj_assets.frames import Windows
from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Bound, Device, Operator, Scores, Stat
from dj_assets.operators._weights import model_requirements, weights_of

STAT = "video_nsfw_score"


class NsfwParams(frames.FrameParams):
    """Options that change the score."""

    hf_nsfw_model: str = Field(
        "Falconsai/nsfw_image_detection", description="an image classifier of the hub, or its folder"
    )

    model_option: ClassVar[str] = "hf_nsfw_model"
    pins: ClassVar[Mapping[str, str]] = {"Falconsai/nsfw_image_detection": "96cb0d0342c7afb80cab76ecc58b265fa44da256"}


def load(params: NsfwParams, device: Device) -> frames.Network:
    """The classifier. Raises `WeightsError`, `DeviceError`."""
    return frames.load_classifier(weights_of(params), device)


def score(windows: Windows, params: NsfwParams, model: frames.Network) -> Scores:
    """Probability of each frame, 0 to 1. windows.data: uint8 [N, 1, H, W, 3]."""
    return Scores(frames.second_label(frames.pictures_of(windows), model))


OPERATOR = Operator(
    name="video_nsfw_filter",
    version=1,
    summary="probability (0 to 1) that sampled frames are not safe for work, by a classifier of the hub",
    compute="gpu",
    params=NsfwParams,
    stats=(Stat(STAT, unit="probability", high=1.0),),
    bounds=(
        Bound("min_score", STAT, "min", 0.0, help="a probability, 0 to 1"),
        Bound("max_score", STAT, "max", 0.5, help="a probability, 0 to 1"),
    ),
    plan=frames.plan,
    load=load,
    requires=model_requirements,
    score=score,
    reduce_by=frames.reduce_by,
    device_moves_number=True,
    ignored=frames.IGNORED,
    refused=frames.REFUSED,
)
