"""OpenCV's Haar cascades (Viola and Jones, CVPR 2001; Lienhart's cascades), for OpenCV 5 has its classifier no more.

The same windows, sums, roundings and groups as `CascadeClassifier.detectMultiScale` of OpenCV 4, hence the same boxes.

grey ─scaled down again and again─► windows of 20×20 ─stage by stage, most fall out early─► boxes ─grouped─► faces
"""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dj_assets.errors import DjAssetsError
from dj_assets.frames import Size

FRONTAL_FACE = Path(__file__).with_name("_haarcascade_frontalface_alt.xml.gz")
"""Lienhart's cascade of frontal faces, as OpenCV 4 brings it; its licence stands in the file."""

MOST_BYTES = 32 * 2**20
"""Of a cascade's XML: the largest that OpenCV brings has 3 MB."""

THRESHOLD_EPSILON = np.float32(1e-5)
GROUP_EPSILON = 0.2
LEAST_CONTRAST = 1e-1
"""As OpenCV has them: slack of a stage, how alike boxes of a group are, and when a window is too flat to look at."""

COARSE_BELOW_SCALE = 2.0
"""Below it every second window is looked at, in both directions."""

CHUNK_VALUES = 65_536
"""Sums looked at together: what is computed of so many stays in a core's cache."""

Grey = npt.NDArray[np.uint8]


class Box(NamedTuple):
    """Pixels from the left and from the top, width and height."""

    x: int
    y: int
    width: int
    height: int


class Corner(NamedTuple):
    """A place in the table of sums, relative to a window, and what its value counts."""

    y: int
    x: int
    weight: int


@dataclass(frozen=True)
class Stump:
    """One comparison: the weighted sum of `corners`, by contrast, below `threshold` gives `left`, else `right`."""

    corners: tuple[Corner, ...]
    threshold: np.float32
    left: float
    right: float


@dataclass(frozen=True)
class Stage:
    """A window whose stumps give less than `threshold` in total falls out."""

    stumps: tuple[Stump, ...]
    threshold: np.float32

    @cached_property
    def _corners(self) -> npt.NDArray[np.int64]:
        return np.array([corner for stump in self.stumps for corner in stump.corners], dtype=np.int64)

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """int64 [corners of all stumps]; so are `columns` and, int32, `weights`."""
        return self._corners[:, 0]

    @cached_property
    def columns(self) -> npt.NDArray[np.int64]:
        return self._corners[:, 1]

    @cached_property
    def weights(self) -> npt.NDArray[np.int32]:
        return self._corners[:, 2].astype(np.int32)

    @cached_property
    def begins(self) -> npt.NDArray[np.int64]:
        """int64 [stumps]: the first of each stump's corners."""
        return np.cumsum([0, *(len(stump.corners) for stump in self.stumps[:-1])])

    @cached_property
    def thresholds(self) -> npt.NDArray[np.float32]:
        """float32 [stumps]; `lefts` and `rights` are float64."""
        return np.array([stump.threshold for stump in self.stumps], dtype=np.float32)

    @cached_property
    def lefts(self) -> npt.NDArray[np.float64]:
        return np.array([stump.left for stump in self.stumps])

    @cached_property
    def rights(self) -> npt.NDArray[np.float64]:
        return np.array([stump.right for stump in self.stumps])


@dataclass(frozen=True)
class Cascade:
    """Stages in order, and the size of the windows that they look at."""

    window: Size
    stages: tuple[Stage, ...]

    @cached_property
    def contrast_corners(self) -> tuple[Corner, ...]:
        """Of the window without its rim, over which contrast is measured."""
        return _corners_of([((1, 1, self.window.width - 2, self.window.height - 2), 1)])

    @property
    def contrast_area(self) -> int:
        return (self.window.width - 2) * (self.window.height - 2)


# --- reading


class CascadeError(DjAssetsError):
    """A file that is no cascade which can be run here."""


def read_cascade(path: Path) -> Cascade:
    """A cascade of upright Haar features and stumps, from OpenCV's XML, gzipped or not. Raises `CascadeError`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ValueError("it is too large, or defines entities")
        return _parsed(ET.fromstring(data))
    except OSError as error:
        raise _no_cascade(path, error.strerror or str(error)) from None
    except (ET.ParseError, ValueError, IndexError, EOFError) as error:
        raise _no_cascade(path, str(error)) from None


def _no_cascade(path: Path, why: str) -> CascadeError:
    return CascadeError(
        f"{path} is no cascade that can be run here: {why}",
        allowed="an XML file of OpenCV with upright Haar features and stumps, such as haarcascade_frontalface_alt.xml",
        try_="leave cv_classifier out: the cascade of frontal faces is built in",
    )


def _parsed(root: ET.Element) -> Cascade:
    top = _child(root, "cascade")
    if (_text(top, "featureType"), _text(top, "stageType")) != ("HAAR", "BOOST"):
        raise ValueError(f"its features are {_text(top, 'featureType')}")
    features = [_feature(element) for element in _child(top, "features")]
    stages = tuple(_stage(element, features) for element in _child(top, "stages"))
    return Cascade(Size(int(_text(top, "height")), int(_text(top, "width"))), stages)


def _feature(element: ET.Element) -> tuple[Corner, ...]:
    if int(element.findtext("tilted", "0")):
        raise ValueError("it has tilted features")
    rects = []
    for rect in _child(element, "rects"):
        x, y, width, height, weight = (rect.text or "").split()
        rects.append(((int(x), int(y), int(width), int(height)), int(float(weight))))
    return _corners_of(rects)


def _corners_of(rects: Sequence[tuple[tuple[int, int, int, int], int]]) -> tuple[Corner, ...]:
    """The corners whose sums make the weighted sum of rectangles (x, y, width, height); shared ones once."""
    weights: dict[tuple[int, int], int] = {}
    for (x, y, width, height), weight in rects:
        for row, column, sign in ((y, x, 1), (y, x + width, -1), (y + height, x, -1), (y + height, x + width, 1)):
            weights[row, column] = weights.get((row, column), 0) + sign * weight
    return tuple(Corner(row, column, weight) for (row, column), weight in sorted(weights.items()) if weight)


def _stage(element: ET.Element, features: Sequence[tuple[Corner, ...]]) -> Stage:
    stumps = tuple(_stump(weak, features) for weak in _child(element, "weakClassifiers"))
    return Stage(stumps, np.float32(float(_text(element, "stageThreshold"))) - THRESHOLD_EPSILON)


def _stump(element: ET.Element, features: Sequence[tuple[Corner, ...]]) -> Stump:
    node, leaves = _text(element, "internalNodes").split(), _text(element, "leafValues").split()
    if len(node) != 4 or len(leaves) != 2:
        raise ValueError("it has trees, not stumps")
    left, right = (float(np.float32(float(leaf))) for leaf in leaves)
    return Stump(features[int(node[2])], np.float32(float(node[3])), left, right)


def _child(element: ET.Element, name: str) -> ET.Element:
    found = element.find(name)
    if found is None:
        raise ValueError(f"it has no {name}")
    return found


def _text(element: ET.Element, name: str) -> str:
    return (_child(element, name).text or "").strip()


# --- looking


def detect(
    cascade: Cascade,
    grey: Grey,
    *,
    scale_factor: float = 1.1,
    min_neighbors: int = 3,
    min_size: Size | None = None,
    max_size: Size | None = None,
) -> list[Box]:
    """Boxes of what the cascade knows, inside the picture. grey: uint8 [H, W].

    scale_factor: from one size to the next, more than 1. min_neighbors: windows that a group needs besides one.
    min_size, max_size: of boxes.
    """
    picture = Size(*grey.shape[:2])
    scales = list(_scales(cascade.window, picture, scale_factor, min_size, max_size))
    pyramid = _Pyramid(cascade, grey, scales)
    found: list[Box] = []
    for number, y, x in pyramid.passing():
        scale = scales[number]
        wide, high = (int(np.rint(np.float32(side) * scale)) for side in (cascade.window.width, cascade.window.height))
        found.append(Box(int(np.rint(np.float32(x) * scale)), int(np.rint(np.float32(y) * scale)), wide, high))
    return [_clipped(box, picture) for box in grouped(found, min_neighbors)]


def _scales(
    window: Size, picture: Size, factor: float, min_size: Size | None, max_size: Size | None
) -> Iterator[np.float32]:
    most = max_size or picture
    scale = 1.0
    while True:
        height, width = round(window.height * scale), round(window.width * scale)
        if height > min(most.height, picture.height) or width > min(most.width, picture.width):
            return
        if min_size is None or (height >= min_size.height and width >= min_size.width):
            yield np.float32(scale)
        scale *= factor


def _clipped(box: Box, picture: Size) -> Box:
    x, y = max(box.x, 0), max(box.y, 0)
    return Box(x, y, min(box.x + box.width, picture.width) - x, min(box.y + box.height, picture.height) - y)


class _Pyramid:
    """A picture at every scale, their tables of sums one below the other, so that all windows are looked at together.

    Rows of all tables are as wide as those of the largest; a window is the place of its first value in them.
    """

    def __init__(self, cascade: Cascade, grey: Grey, scales: Sequence[np.float32]) -> None:
        self.cascade = cascade
        self.scales = scales
        sizes = [Size(*(int(np.rint(np.float32(side) / scale)) for side in grey.shape)) for scale in scales]
        self._width = max((size.width for size in sizes), default=0) + 1
        self._rows = np.cumsum([0, *(size.height + 1 for size in sizes)])
        self._sums = np.zeros((int(self._rows[-1]), self._width), dtype=np.int32)
        self._windows = [self._begin(grey, number, size) for number, size in enumerate(sizes)]

    def passing(self) -> Iterator[tuple[int, int, int]]:
        """The windows that pass every stage: number of the scale, y, x."""
        none: tuple[npt.NDArray, ...] = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        places, factors = (np.concatenate(parts) for parts in zip(none, *self._windows, strict=True))
        for stage in self.cascade.stages[1:]:
            passes = np.zeros(len(places), dtype=bool)
            chunk = max(1, CHUNK_VALUES // len(stage.weights))
            for begin in range(0, len(places), chunk):
                part = slice(begin, begin + chunk)
                passes[part] = self._passes(stage, places[part], factors[part])
            places, factors = places[passes], factors[passes]
        for row, x in zip(*(place.tolist() for place in divmod(places, self._width)), strict=True):
            number = int(np.searchsorted(self._rows, row, side="right")) - 1
            yield number, row - int(self._rows[number]), x

    def _begin(self, grey: Grey, number: int, size: Size) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Fill one scale's table. Returns the windows that pass the first stage, and one by their contrast."""
        import cv2

        small = cv2.resize(grey, (size.width, size.height), interpolation=cv2.INTER_LINEAR_EXACT)
        sums, squares = cv2.integral2(small, sdepth=cv2.CV_32S, sqdepth=cv2.CV_64F)
        top = int(self._rows[number])
        self._sums[top : top + size.height + 1, : size.width + 1] = sums
        step = 1 if self.scales[number] >= COARSE_BELOW_SCALE else 2
        grid = _Grid(sums, self.cascade.window, step)
        factors, has_contrast = self._contrast(grid, squares)
        total = np.zeros(factors.shape, dtype=np.float64)
        first = self.cascade.stages[0]
        for stump in first.stumps:
            values = grid.weighted(stump.corners, sums).astype(np.float32) * factors
            total += np.where(values < stump.threshold, stump.left, stump.right)
        passes = total >= first.threshold
        rows, columns = np.nonzero(_visited(has_contrast & ~passes) & has_contrast & passes)
        return (top + rows * step) * self._width + columns * step, factors[rows, columns]

    def _contrast(
        self, grid: _Grid, squares: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """One by the grey's deviation times the area, float32; and where a window is not too flat."""
        corners, area = self.cascade.contrast_corners, self.cascade.contrast_area
        total = grid.weighted(corners, grid.sums).astype(np.float64)
        spread = area * grid.weighted(corners, squares) - total * total
        is_spread = spread > 0
        factors = (1 / np.sqrt(np.where(is_spread, spread, 1))).astype(np.float32)
        return factors, is_spread & (area * factors.astype(np.float64) < LEAST_CONTRAST)

    def _passes(
        self, stage: Stage, places: npt.NDArray[np.int64], factors: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        offsets = stage.rows * self._width + stage.columns
        values = self._sums.reshape(-1).take(offsets[:, None] + places)  # [corner, window]
        values *= stage.weights[:, None]
        # Sums may wrap round on the way; the result is exact.
        sums = np.add.reduceat(values, stage.begins, axis=0).astype(np.float32)  # [stump, window]
        sums *= factors
        votes = np.where(sums < stage.thresholds[:, None], stage.lefts[:, None], stage.rights[:, None])
        return votes.sum(axis=0) >= stage.threshold


class _Grid:
    """All windows of one picture, every `step` pixels in both directions. sums: int32 [H + 1, W + 1], its table."""

    def __init__(self, sums: npt.NDArray[np.int32], window: Size, step: int) -> None:
        self.sums = sums
        self._step = step
        self._rows, self._columns = (
            -(-(side - of_window) // step) for side, of_window in zip(sums.shape, window, strict=True)
        )

    def weighted(self, corners: Sequence[Corner], table: npt.NDArray) -> npt.NDArray:
        """Weighted sums for every window, [rows, columns]."""
        step = self._step
        total = np.zeros((self._rows, self._columns), dtype=table.dtype)
        for y, x, weight in corners:
            part = table[y : y + self._rows * step : step, x : x + self._columns * step : step]
            part = part[: self._rows, : self._columns]
            total += part if weight == 1 else part * table.dtype.type(weight)
        return total


def _visited(rejected: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which windows OpenCV looks at: in a row, after one that the first stage rejects, the next is left out.

    rejected: bool [R, C]. In a run of rejected windows, each second is looked at; the one that follows a run of odd
    length is left out.
    """
    columns = np.arange(rejected.shape[1])
    begins = rejected & ~np.pad(rejected, ((0, 0), (1, 0)))[:, :-1]
    run_begin = np.maximum.accumulate(np.where(begins, columns, -1), axis=1)
    is_even = (columns - run_begin) % 2 == 0
    before = np.pad(rejected & is_even, ((0, 0), (1, 0)))[:, :-1]
    return np.where(rejected, is_even, ~before)


def grouped(boxes: Sequence[Box], min_neighbors: int) -> list[Box]:
    """The mean of each group of boxes alike, where more than `min_neighbors` are; small ones inside larger ones go.

    As OpenCV's groupRectangles. 0: every box as it is.
    """
    if min_neighbors <= 0 or not boxes:
        return sorted(boxes)
    labels = _labels(np.array(boxes, dtype=np.float64))
    counts = np.bincount(labels)
    sums = np.stack([np.bincount(labels, weights=column) for column in np.array(boxes, dtype=np.float64).T], axis=1)
    scale = (np.float32(1) / counts.astype(np.float32))[:, None]
    means = [Box(*row) for row in np.rint(sums.astype(np.float32) * scale).astype(int).tolist()]
    large = [(box, int(count)) for box, count in zip(means, counts, strict=True) if count > min_neighbors]
    kept = [
        box
        for number, (box, count) in enumerate(large)
        if not any(_covers(other, by, box, count) for place, (other, by) in enumerate(large) if place != number)
    ]
    return sorted(kept)


def _labels(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The group of each box: alike boxes, and those alike to them, are of one."""
    x, y, width, height = boxes.T
    edges = np.stack([x, y, x + width, y + height])
    slack = GROUP_EPSILON * 0.5 * (np.minimum.outer(width, width) + np.minimum.outer(height, height))
    alike = np.all(np.abs(edges[:, :, None] - edges[:, None, :]) <= slack, axis=0)
    labels = np.full(len(boxes), -1)
    for seed in range(len(boxes)):
        if labels[seed] < 0:
            group = np.zeros(len(boxes), dtype=bool)
            front = alike[seed]
            while front.any():
                group |= front
                front = alike[front].any(axis=0) & ~group
            labels[group] = labels.max() + 1
    return labels


def _covers(outer: Box, outer_count: int, inner: Box, inner_count: int) -> bool:
    dx, dy = int(np.rint(outer.width * GROUP_EPSILON)), int(np.rint(outer.height * GROUP_EPSILON))
    lies_inside = (
        inner.x >= outer.x - dx
        and inner.y >= outer.y - dy
        and inner.x + inner.width <= outer.x + outer.width + dx
        and inner.y + inner.height <= outer.y + outer.height + dy
    )
    return lies_inside and (outer_count > max(3, inner_count) or inner_count < 3)
