"""Scales videos whose aspect ratio, width by height, lies outside a range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dj_assets.frames import Size
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product

LEAST_SIDE_PX = 2


class ResizeAspectRatioParams(Params):
    """Options that change the size. Ratios are exact: "9/21", "9:21" or a number."""

    min_ratio: str = Field(
        "9/21", validate_default=True, description="width by height, as 9/21 or 9:21, above 0, at most max_ratio"
    )
    max_ratio: str = Field(
        "21/9", validate_default=True, description="width by height, as 21/9 or 21:9, above 0, at least min_ratio"
    )
    strategy: Literal["decrease", "increase"] = Field(
        "increase", description="increase one side, or decrease the other, to reach the range"
    )

    @field_validator("min_ratio", "max_ratio", mode="before")
    @classmethod
    def _ratio(cls, value: Any) -> str:
        try:
            ratio = Fraction(str(value).replace(":", "/"))
        except (ValueError, ZeroDivisionError):
            raise ValueError("is not a ratio") from None
        if ratio <= 0:
            raise ValueError("must be above 0")
        return f"{ratio.numerator}/{ratio.denominator}"

    @field_validator("strategy", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("max_ratio")
    @classmethod
    def _possible(cls, value: str, info: ValidationInfo) -> str:
        least = info.data.get("min_ratio")
        if least is not None and Fraction(value) < Fraction(least):
            raise ValueError(f"is less than min_ratio {least}")
        return value


def target_size(size: Size, params: ResizeAspectRatioParams) -> Size:
    """The size that a video of `size` gets; its own where its ratio is in range. The side that changes is even."""
    low, high = Fraction(params.min_ratio), Fraction(params.max_ratio)
    ratio = Fraction(size.width, size.height)
    height, width = size
    if ratio < low and params.strategy == "increase":
        width = _even_up(height * low)
    elif ratio < low:
        height = _even_down(width / low)
    elif ratio > high and params.strategy == "increase":
        height = _even_up(width / high)
    elif ratio > high:
        width = _even_down(height * high)
    else:
        return size
    return Size(max(LEAST_SIDE_PX, height), max(LEAST_SIDE_PX, width))


def _even_up(side: Fraction) -> int:
    return math.ceil(side / 2) * 2


def _even_down(side: Fraction) -> int:
    return math.floor(side / 2) * 2


def make(bench: Bench, params: ResizeAspectRatioParams, model: Any) -> Sequence[Product]:
    """The video at its new size; the video itself where that is its own."""
    size = target_size(bench.info.size, params)
    if size == bench.info.size:
        return [bench.parent()]
    return [bench.filtered([("scale", {"width": str(size.width), "height": str(size.height)})])]


OPERATOR = Mapper(
    name="video_resize_aspect_ratio_mapper",
    version=1,
    summary="videos outside a range of width by height are stretched or squeezed into it",
    compute="cpu",
    role="video",
    params=ResizeAspectRatioParams,
    make=make,
)
