"""Keeps samples whose videos are pleasing by `min_score` to `max_score`, from 0 to 1.

A predictor of LAION's family looks at each sampled frame: CLIP's picture tower, scaled to length 1, and a small head
that was fitted to people's marks from 0 to 10, which are divided by 10. By default
shunk031/aesthetics-predictor-v2-sac-logos-ava1-l14-linearMSE, whose layout simple-aesthetics-predictor has published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from dj_assets.frames import Windows
from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Bound, Device, Operator, Scores, Stat
from dj_assets.operators._weights import WeightsError, model_requirements, weights_of

STAT = "video_frames_aesthetics_score"

DEFAULT = "shunk031/aesthetics-predictor-v2-sac-logos-ava1-l14-linearMSE"

HIGHEST_MARK = 10.0

HEADS: Mapping[str, tuple[str, tuple[int, ...], bool]] = {
    "AestheticsPredictorV1": ("predictor", (1,), False),
    "AestheticsPredictorV2Linear": ("layers", (1024, 128, 64, 16, 1), False),
    "AestheticsPredictorV2ReLU": ("layers", (1024, 128, 64, 16, 1), True),
}
"""architecture -> the head's name in the weights, widths of its layers, whether a ReLU follows each but the last."""


class AestheticsParams(frames.FrameParams):
    """Options that change the score."""

    hf_scorer_model: str = Field("", description=f"an aesthetics predictor of the hub, or its folder; empty: {DEFAULT}")
    frame_sampling_method: Literal["all_keyframes", "uniform"] = Field(
        "uniform", description="all_keyframes or uniform"
    )

    model_option: ClassVar[str] = "hf_scorer_model"
    pins: ClassVar[Mapping[str, str]] = {DEFAULT: "684098de3856fa4678bf800efc05635de5b6cde5"}

    @property
    def model_name(self) -> str:
        return self.hf_scorer_model or DEFAULT


def load(params: AestheticsParams, device: Device) -> frames.Network:
    """The predictor. Raises `WeightsError`, `DeviceError`."""
    folder = weights_of(params)
    head = head_of(folder, params.model_name)
    transformers = frames.import_transformers(device)
    module = frames.module_from(_predictor(*HEADS[head]), folder, device)
    return frames.Network(module, frames.from_folder(transformers.CLIPImageProcessor.from_pretrained, folder), device)


def head_of(folder: Path, name: str) -> str:
    """Which of `HEADS` a folder holds: what its configuration says, else what upstream reads out of the model's name.

    Raises `WeightsError`.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for architecture in config.get("architectures") or ():
        if architecture in HEADS:
            return str(architecture)
    if "v1" in name:
        return "AestheticsPredictorV1"
    if "v2" in name and ("linear" in name or "relu" in name):
        return "AestheticsPredictorV2Linear" if "linear" in name else "AestheticsPredictorV2ReLU"
    raise WeightsError(
        f"{folder} is no aesthetics predictor: its config.json names {config.get('architectures')}",
        allowed=", ".join(HEADS),
        try_=f"name one of simple-aesthetics-predictor's models, such as {DEFAULT}",
    )


def _predictor(name: str, widths: tuple[int, ...], has_relu: bool) -> Any:
    """A class as transformers loads it: CLIP's picture tower with a head of that name. forward: marks, [n, 1]."""
    from torch import nn
    from transformers import CLIPVisionModelWithProjection

    dropouts = (0.2, 0.2, 0.1)  # they have a place in the numbering of the layers, and no effect here

    class Predictor(CLIPVisionModelWithProjection):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            layers: list[Any] = []
            for number, (before, after) in enumerate(zip((config.projection_dim, *widths), widths, strict=False)):
                layers.append(nn.Linear(before, after))
                is_last = number == len(widths) - 1
                layers += [nn.ReLU()] if has_relu and not is_last else []
                layers += [nn.Dropout(dropouts[number])] if number < len(dropouts) and not is_last else []
            setattr(self, name, nn.Sequential(*layers) if len(layers) > 1 else layers[0])
            self.post_init()

        def forward(self, pixel_values: Any) -> Any:
            seen = super().forward(pixel_values=pixel_values).image_embeds
            return getattr(self, name)(seen / seen.norm(dim=-1, keepdim=True))

    return Predictor


def score(windows: Windows, params: AestheticsParams, model: frames.Network) -> Scores:
    """How pleasing each frame is, about 0 to 1. windows.data: uint8 [N, 1, H, W, 3]."""
    marks = model.each(frames.pictures_of(windows), lambda inputs: model.module(inputs["pixel_values"]))
    return Scores(marks[:, 0] / HIGHEST_MARK)


OPERATOR = Operator(
    name="video_aesthetics_filter",
    version=1,
    summary="how pleasing sampled frames are, a mark of 0 to 10 divided by 10, by an aesthetics predictor on CLIP",
    compute="gpu",
    params=AestheticsParams,
    stats=(Stat(STAT, unit="mark / 10", low=float("-inf")),),
    bounds=(
        Bound("min_score", STAT, "min", 0.4, help="a mark divided by 10, usually 0 to 1"),
        Bound("max_score", STAT, "max", 1.0, help="a mark divided by 10, usually 0 to 1"),
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
