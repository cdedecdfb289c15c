"""Scales videos whose width or height lies outside a range."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from dj_assets.frames import Size
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product

EVEN = 2
"""Sides are multiples of it where the shape need not be kept: 4:2:0 halves them."""


class ResizeResolutionParams(Params):
    """Options that change the size."""

    min_width: int = Field(1, ge=1, description="pixels, 1 or more, at most max_width")
    max_width: int = Field(
        sys.maxsize, ge=1, validate_default=True, description="pixels, 1 or more, at least min_width"
    )
    min_height: int = Field(1, ge=1, description="pixels, 1 or more, at most max_height")
    max_height: int = Field(
        sys.maxsize, ge=1, validate_default=True, description="pixels, 1 or more, at least min_height"
    )
    force_original_aspect_ratio: Literal["disable", "decrease", "increase"] = Field(
        "disable", description="disable, or decrease or increase a side where that keeps the shape"
    )
    force_divisible_by: int = Field(
        2, ge=1, description="sides are multiples of it where the shape is kept; then a positive even number"
    )

    @field_validator("force_original_aspect_ratio", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("max_width", "max_height")
    @classmethod
    def _possible(cls, value: int, info: ValidationInfo) -> int:
        least = str(info.field_name).replace("max", "min")
        if value < info.data.get(least, value):
            raise ValueError(f"is less than {least} {info.data[least]}")
        return value

    @field_validator("force_divisible_by")
    @classmethod
    def _even(cls, value: int, info: ValidationInfo) -> int:
        if value % 2 and info.data.get("force_original_aspect_ratio") != "disable":
            raise ValueError("must be even where the shape is kept")
        return value


def target_size(size: Size, params: ResizeResolutionParams) -> Size:
    """The size that a video of `size` gets; its own where that is in range. As Data-Juicer computes it.

    Width below the least, above the most, then height likewise, each time keeping the shape; then both are forced into
    the range and to multiples; then, where the shape counts, one side gives way.
    """
    low, high = Size(params.min_height, params.min_width), Size(params.max_height, params.max_width)
    if low.width <= size.width <= high.width and low.height <= size.height <= high.height:
        return size
    shape = size.width / size.height
    width, height = _into_range(size, shape, low, high)
    keep = params.force_original_aspect_ratio
    multiple = EVEN if keep == "disable" else params.force_divisible_by
    width = _clamped(width, low.width, high.width, multiple)
    height = _clamped(height, low.height, high.height, multiple)
    is_narrow, is_wide = width / height < shape, width / height > shape
    if (keep == "increase" and is_narrow) or (keep == "decrease" and is_wide):
        width = height * shape
    elif (keep == "increase" and is_wide) or (keep == "decrease" and is_narrow):
        height = width / shape
    return Size(*(max(1, round(side / multiple)) * multiple for side in (height, width)))


def _into_range(size: Size, shape: float, low: Size, high: Size) -> tuple[float, float]:
    """Width and height, the shape kept."""
    height, width = float(size.height), float(size.width)
    if width < low.width:
        width, height = low.width, low.width / shape
    if width > high.width:
        width, height = high.width, high.width / shape
    if height < low.height:
        width, height = low.height * shape, low.height
    if height > high.height:
        width, height = high.height * shape, high.height
    return width, height


def _clamped(side: float, low: int, high: int, multiple: int) -> float:
    """The side in its range, rounded up to a multiple, or down where that leaves the range; one multiple at least."""
    raised = math.ceil(int(max(side, low)) / multiple) * multiple
    return max(1, min(raised, high) // multiple) * multiple


def make(bench: Bench, params: ResizeResolutionParams, model: Any) -> Sequence[Product]:
    """The video at its new size; the video itself where that is its own."""
    size = target_size(bench.info.size, params)
    if size == bench.info.size:
        return [bench.parent()]
    return [bench.filtered([("scale", {"width": str(size.width), "height": str(size.height)})])]


OPERATOR = Mapper(
    name="video_resize_resolution_mapper",
    version=1,
    summary="videos outside a range of width and height (pixels) are scaled into it",
    compute="cpu",
    role="video",
    params=ResizeResolutionParams,
    make=make,
)
