"""Blurs the faces that a Haar cascade finds in each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from dj_assets.frames import Size
from dj_assets.operators._contract import Device, Params
from dj_assets.operators._haar import FRONTAL_FACE, Box, Cascade, detect, read_cascade
from dj_assets.operators._mapper import Bench, Mapper, Product, Rgb

Sides = tuple[int, int]
"""Width and height, as OpenCV takes them."""


class FaceBlurParams(Params):
    """Options that change what is blurred, and how."""

    cv_classifier: str = Field(
        "", description="path of a Haar cascade in OpenCV's XML; empty for haarcascade_frontalface_alt.xml, built in"
    )
    blur_type: Literal["mean", "box", "gaussian"] = Field(
        "gaussian", description="gaussian or box, of the radius, or mean, over 5x5 pixels"
    )
    radius: float = Field(2.0, ge=0, description="pixels of a gaussian or box blur, 0 or more")
    scaleFactor: float = Field(1.1, gt=1, description="from one size of faces to the next, more than 1")
    minNeighbors: int = Field(3, ge=0, description="how sure to be of a face: hits beside the first, 0 or more")
    minSize: Sides | None = Field(None, description="width and height in pixels of the least face, or null")
    maxSize: Sides | None = Field(None, description="width and height in pixels of the largest face, or null")


def load(params: FaceBlurParams, device: Device) -> Cascade:
    """The cascade. Raises `CascadeError`."""
    return read_cascade(Path(params.cv_classifier) if params.cv_classifier else FRONTAL_FACE)


def faces_of(picture: Rgb, cascade: Cascade, params: FaceBlurParams) -> list[Box]:
    """Boxes of faces, those of Data-Juicer under OpenCV 4. picture: uint8 [H, W, 3], upright."""
    import cv2

    return detect(
        cascade,
        cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY),
        scale_factor=params.scaleFactor,
        min_neighbors=params.minNeighbors,
        min_size=_size(params.minSize),
        max_size=_size(params.maxSize),
    )


def _size(sides: Sides | None) -> Size | None:
    return None if sides is None else Size(sides[1], sides[0])


def blurred(picture: Rgb, boxes: Sequence[Box], params: FaceBlurParams) -> Rgb:
    """A copy in which each box is blurred, one after another. Nothing outside of a box is mixed into it."""
    from PIL import Image, ImageFilter

    kernels: dict[str, Any] = {
        "mean": ImageFilter.BLUR,
        "box": ImageFilter.BoxBlur(params.radius),
        "gaussian": ImageFilter.GaussianBlur(params.radius),
    }
    result = picture.copy()
    for x, y, width, height in boxes:
        face = result[y : y + height, x : x + width]
        face[:] = np.asarray(Image.fromarray(np.ascontiguousarray(face)).filter(kernels[params.blur_type]))
    return result


def make(bench: Bench, params: FaceBlurParams, model: Cascade) -> Sequence[Product]:
    """The video with its faces blurred; they are looked for in pictures turned as players do."""
    turns = bench.info.rotation_degrees // 90

    def without_faces(picture: Rgb, index: int) -> Rgb:
        upright = np.rot90(picture, turns)
        boxes = faces_of(upright, model, params)
        return np.rot90(blurred(upright, boxes, params), -turns) if boxes else picture

    return [bench.redrawn(without_faces)]


OPERATOR = Mapper(
    name="video_face_blur_mapper",
    version=1,
    summary="faces are blurred",
    compute="cpu",
    role="video",
    params=FaceBlurParams,
    load=load,
    make=make,
)
