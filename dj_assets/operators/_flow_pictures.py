"""Flow as pictures: the panels that operators on optical flow give as their evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dj_assets.operators._contract import Panel, Scale, View

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

WHEEL_PX = 19
"""Radius of the wheel that says which colour is which direction."""


def flow_panels(
    views: Iterable[tuple[View, Floats]], *, unit: str, least_scale: float
) -> list[tuple[Panel, Panel, Panel]]:
    """The first frame of each pair; its flow as colour: hue is direction, brightness length; and its length as heat.

    views: each with its flow in `unit`, float32 [H, W, 2] as (dx, dy), of the pictures that were scored. One scale
    holds for all views; it ends at least_scale or further, for below it there is nothing but noise to be seen.
    """
    import cv2

    found: list[tuple[Picture, Floats, Floats, float]] = []
    for view, vectors in views:
        length, _ = cv2.cartToPolar(vectors[..., 0], vectors[..., 1])
        height, width = view.pictures.shape[1:3]
        # OpenCV takes (width, height). Area interpolation keeps means.
        smaller = (cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA) for field in (vectors, length))
        found.append((view.pictures[0], *smaller, float(np.mean(length))))
    full = _full_scale([length for _, _, length, _ in found], least_scale)
    scale = Scale(heat(np.arange(256, dtype=np.uint8)[None])[0], full, unit)
    return [
        (
            Panel(frame, "first frame of the pair"),
            Panel(_with_wheel(_hues(vectors, full)), "flow: direction as in the wheel, brighter is further"),
            Panel(heat(as_bytes(length / full)), f"length of flow, mean {mean:.4g} {unit}", scale),
        )
        for frame, vectors, length, mean in found
    ]


def _full_scale(lengths: Sequence[Floats], least_scale: float) -> float:
    """The length that gets the brightest colour: a round number that 99 % of all do not pass."""
    most = max([least_scale, *(float(np.quantile(length, 0.99)) for length in lengths)])
    magnitude = 10.0 ** math.floor(math.log10(most))
    return next(step * magnitude for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * magnitude >= most * (1 - 1e-6))


def as_bytes(share: Floats) -> Picture:
    """0 to 1 as 0 to 255, cut at both ends."""
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def heat(levels: Picture) -> Picture:
    """Levels uint8 [h, w] as RGB, from black over red to light yellow."""
    import cv2

    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def _hues(vectors: Floats, full: float) -> Picture:
    """Flow float32 [h, w, 2] as RGB: hue is direction, red is right; brightness is the root of length, full at `full`.

    The root, since most of a picture moves far less than its fastest corner, and its direction would stay in the dark.
    """
    import cv2

    length, direction = cv2.cartToPolar(
        np.ascontiguousarray(vectors[..., 0]), np.ascontiguousarray(vectors[..., 1]), angleInDegrees=True
    )
    hue = (direction / 2).astype(np.uint8) % 180  # OpenCV's hue has half degrees
    return cv2.cvtColor(
        np.stack([hue, np.full_like(hue, 255), as_bytes(np.sqrt(length / full))], axis=2), cv2.COLOR_HSV2RGB
    )


def _with_wheel(picture: Picture) -> Picture:
    """The same with a wheel of all directions in the lower left corner; none where it would hide too much."""
    height, width = picture.shape[:2]
    if min(height, width) < 10 * WHEEL_PX:
        return picture
    offsets = np.arange(-WHEEL_PX, WHEEL_PX + 1, dtype=np.float32)
    wheel = np.stack(np.meshgrid(offsets, offsets), axis=2)
    inside = np.hypot(wheel[..., 0], wheel[..., 1]) <= WHEEL_PX
    drawn = picture.copy()
    corner = drawn[height - 2 * WHEEL_PX - 7 : height - 6, 6 : 2 * WHEEL_PX + 7]
    corner[inside] = _hues(wheel, WHEEL_PX / 2)[inside]
    return drawn
