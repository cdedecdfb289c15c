"""Finds watermarks in given regions, and paints over them from their surroundings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from dj_assets.errors import Malformed
from dj_assets.frames import Look, Size, single, uniform
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Bench, Mapper, Product, Rgb

Mask = npt.NDArray[np.uint8]
"""[H, W], 255 where a pixel is a watermark's, else 0."""

Region = tuple[float, float, float, float]
"""x1, y1, x2, y2: of the corner top left and of that bottom right."""

DILATION_PX = 5
INPAINT_RADIUS_PX = 3
"""As Data-Juicer has them."""

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_REGION = re.compile(rf"\s*[\[(]?{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}[\])]?\s*")


class RemoveWatermarkParams(Params):
    """Options that change what is painted over."""

    roi_type: Literal["ratio", "pixel"] = Field(
        "ratio", description="what regions are given in: ratio (of width and height) or pixel"
    )
    roi_strings: tuple[str, ...] = Field(
        ("0,0,0.1,0.1",), description='regions, each "x1, y1, x2, y2" with x1 below x2 and y1 below y2, 0 or more'
    )
    roi_key: str | None = Field(
        None, min_length=1, description="field of the record that lists a sample's own regions; null: roi_strings"
    )
    frame_num: int = Field(10, ge=1, description="frames looked at, evenly spaced; 2 or more for pixel_diversity")
    min_frame_threshold: int = Field(
        7, ge=1, description="pixel_value: frames in which a pixel must look like a watermark's"
    )
    detection_method: Literal["pixel_value", "pixel_diversity"] = Field(
        "pixel_value",
        description="pixel_value (stands out from the region in most frames) or pixel_diversity (changes least)",
    )

    @field_validator("roi_strings")
    @classmethod
    def _regions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if region_of(text) is None:
                raise ValueError(f"{text!r} is no region")
        return value

    @field_validator("detection_method")
    @classmethod
    def _enough_frames(cls, value: str, info: ValidationInfo) -> str:
        if value == "pixel_diversity" and info.data.get("frame_num", 2) < 2:
            raise ValueError("pixel_diversity compares frames, so frame_num must be 2 or more")
        return value

    def warnings(self) -> Sequence[str]:
        """Of Data-Juicer's fault."""
        if self.roi_key is not None and self.roi_type == "ratio":
            return ["roi_key: Data-Juicer ignores it where roi_type is ratio, and removes nothing; here it is used"]
        return []


def region_of(text: str) -> Region | None:
    """The four numbers of a region's text; None where it is none, or empty.

    >>> region_of("(0, 0, 0.1, 0.2)")
    (0.0, 0.0, 0.1, 0.2)
    """
    match = _REGION.fullmatch(text)
    if match is None:
        return None
    x1, y1, x2, y2 = (float(number) for number in match.groups())
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def regions_of(bench: Bench, params: RemoveWatermarkParams) -> list[Region]:
    """The step's regions, or the sample's own. Raises `Malformed` where that has none that can be read."""
    texts: Any = params.roi_strings
    if params.roi_key is not None:
        texts = json.loads(bench.text or "null")
        texts = [texts] if isinstance(texts, str) else texts
    found = [region_of(text) for text in texts if isinstance(text, str)] if isinstance(texts, list | tuple) else []
    if not found or None in found:
        raise Malformed(
            f"field {params.roi_key!r} holds no regions: {json.dumps(texts)[:200]}",
            allowed='"x1, y1, x2, y2" or a list of such',
            try_="mend the record, or leave roi_key out",
        )
    return [region for region in found if region is not None]


def boxes_of(regions: Sequence[Region], size: Size, roi_type: str) -> list[tuple[slice, slice]]:
    """Rows and columns of each region in a picture of that size; regions of no pixel are left out."""
    boxes = []
    for x1, y1, x2, y2 in regions:
        wide, high = (size.width, size.height) if roi_type == "ratio" else (1, 1)
        rows = slice(int(y1 * high), min(int(y2 * high), size.height))
        columns = slice(int(x1 * wide), min(int(x2 * wide), size.width))
        if rows.start < rows.stop and columns.start < columns.stop:
            boxes.append((rows, columns))
    return boxes


def standing_out(crop: npt.NDArray[np.uint8]) -> Mask:
    """Pixels that stand out from a region, by Otsu's threshold of its grey. crop: uint8 [h, w, 3], BGR.

    A watermark lies within its region, so where most of the first row and column would be part of it, the other side
    of the threshold is meant.
    """
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_BGR2GRAY)
    _, binary = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    on_edge = np.count_nonzero(binary[0]) + np.count_nonzero(binary[:, 0])
    return ~binary if on_edge * 2 > sum(binary.shape) else binary


def least_diverse(crops: npt.NDArray[np.uint8]) -> Mask:
    """Pixels that change least over the frames, by Otsu's threshold. crops: uint8 [n, h, w, 3]."""
    import cv2

    diversity = crops.std(axis=0).sum(axis=-1)
    low, high = float(diversity.min()), float(diversity.max())
    scaled = 255 * (diversity - low) / (high - low) if high > low else np.zeros_like(diversity)
    _, binary = cv2.threshold(scaled.astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return ~binary


def find_mask(bench: Bench, params: RemoveWatermarkParams) -> Mask:
    """The watermark's pixels, with a rim. Raises `MediaError`."""
    import cv2

    size = bench.info.size
    boxes = boxes_of(regions_of(bench, params), size, params.roi_type)
    if params.detection_method == "pixel_value":
        mask = _by_value(_sampled(bench, params), boxes, size, params.min_frame_threshold)
    else:
        mask = _by_diversity(_sampled(bench, params), boxes, size)
    return cv2.dilate(mask, np.ones((DILATION_PX, DILATION_PX), np.uint8))


def _sampled(bench: Bench, params: RemoveWatermarkParams) -> Iterator[npt.NDArray[np.uint8]]:
    """Evenly spaced pictures, uint8 [H, W, 3], BGR, as coded."""
    for windows in bench.windows(single(uniform(bench.info, params.frame_num), Look("bgr24"))):
        yield from windows.data[:, 0]


def _by_value(
    pictures: Iterator[npt.NDArray[np.uint8]], boxes: Sequence[tuple[slice, slice]], size: Size, least_frames: int
) -> Mask:
    counts = np.zeros(size, dtype=np.int64)
    for picture in pictures:
        mask = np.zeros(size, dtype=np.uint8)
        for box in boxes:
            mask[box] |= standing_out(picture[box])
        counts += mask == 255
    return np.where(counts >= least_frames, 255, 0).astype(np.uint8)


def _by_diversity(pictures: Iterator[npt.NDArray[np.uint8]], boxes: Sequence[tuple[slice, slice]], size: Size) -> Mask:
    crops = [[picture[box].copy() for box in boxes] for picture in pictures]
    mask = np.zeros(size, dtype=np.uint8)
    for number, box in enumerate(boxes):
        mask[box] |= least_diverse(np.stack([of_frame[number] for of_frame in crops]))
    return mask


def make(bench: Bench, params: RemoveWatermarkParams, model: Any) -> Sequence[Product]:
    """The video without its watermarks; the video itself where none was found."""
    import cv2

    mask = find_mask(bench, params)
    if not mask.any():
        return [bench.parent()]

    def without(picture: Rgb, index: int) -> Rgb:
        return cv2.inpaint(picture, mask, INPAINT_RADIUS_PX, cv2.INPAINT_NS)

    return [bench.redrawn(without)]


OPERATOR = Mapper(
    name="video_remove_watermark_mapper",
    version=1,
    summary="watermarks in given regions are painted over",
    compute="cpu",
    role="video",
    params=RemoveWatermarkParams,
    make=make,
    field_option="roi_key",
)
