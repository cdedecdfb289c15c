"""Dense optical flow after Farnebäck in torch: many pairs of pictures at once, on a GPU or on the CPU.

Gunnar Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion" (SCIA 2003), with the choices that
OpenCV's `calcOpticalFlowFarneback` makes where the paper leaves them open, so that both give one flow up to rounding:

picture ─smooth, shrink→ level ─expand→ slopes, curvatures ─┐
coarser level's flow ───────────────────────────────────────┴→ equations ─average→ solve → flow   (`iterations` times)

Filters are separable and written as sums of shifted planes, in one order, not as convolutions of a library's choice:
so no number depends on how pairs are batched, nor on what a GPU takes for float32 (TF32). Planes are tensors
[..., height, width]; x runs along the width, y along the height. torch is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from dj_assets.errors import TooLarge
from dj_assets.frames import Size

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SIDE_PX = 32
"""No level of the pyramid, but the picture itself, has a shorter side."""

EDGE_WEIGHTS = (0.14, 0.14, 0.4472, 0.4472, 0.4472)
"""How much the equations of the outermost pixels count, from the edge inwards; all others count 1."""

REGULARISATION = 1e-3
"""Added to each determinant: where a picture is flat there is no flow, rather than noise."""

PIXELS_AT_ONCE = 8 * 2**20
"""Pixels of the pairs in one batch, each pair counted once; a larger pair is a batch of its own."""

BYTES_PER_PIXEL = 300
"""Memory that a batch takes, about."""


@dataclass(frozen=True)
class FlowOptions:
    """Farnebäck's options under OpenCV's names. is_gaussian: OPTFLOW_FARNEBACK_GAUSSIAN."""

    pyr_scale: float = 0.5
    levels: int = 3
    winsize: int = 15
    iterations: int = 3
    poly_n: int = 5
    poly_sigma: float = 1.2
    is_gaussian: bool = False


class Farneback:
    """The flow of pairs under one set of options on one device (`cpu`, `cuda`)."""

    def __init__(self, options: FlowOptions, device: str) -> None:
        self.options = options
        self.device = device
        self._expansion = _Expansion.of(options.poly_n, options.poly_sigma)
        self._window = _window(options)
        self._levels: tuple[Size, list[_Level]] | None = None

    def mean_lengths(self, pairs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Mean length of each pair's flow in pixels, float64 [N]. pairs: grey, uint8 [N, 2, H, W]; not written to."""
        import torch

        found = np.empty(len(pairs), dtype=np.float64)
        for batch, flow in self._batches(pairs):
            found[batch] = torch.linalg.vector_norm(flow, dim=1).double().mean(dim=(1, 2)).cpu().numpy()
        return found

    def flows(self, pairs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The flow of each pair in pixels, float32 [N, H, W, 2] as (dx, dy). pairs: as for `mean_lengths`."""
        found = np.empty((len(pairs), *pairs.shape[2:], 2), dtype=np.float32)
        for batch, flow in self._batches(pairs):
            found[batch] = flow.permute(0, 2, 3, 1).cpu().numpy()
        return found

    def _batches(self, pairs: npt.NDArray[np.uint8]) -> Iterator[tuple[slice, Tensor]]:
        """Flows [n, 2, H, W] of some pairs after the other. Fewer at once where memory is short; one, or `TooLarge`."""
        import torch

        height, width = pairs.shape[2:]
        start, at_once = 0, max(1, min(len(pairs), PIXELS_AT_ONCE // (height * width)))
        while start < len(pairs):
            batch = slice(start, start + at_once)
            flow = self._flows_if_they_fit(pairs[batch])
            if flow is not None:
                yield batch, flow
                start += at_once
            elif at_once == 1:
                raise TooLarge(
                    f"the flow of pictures of {width}x{height} needs more memory than {self.device} has left",
                    allowed=f"about {BYTES_PER_PIXEL * height * width >> 20} MB free",
                    try_="set size in the recipe's step, or accelerator: cpu",
                )
            else:
                at_once = (at_once + 1) // 2
                torch.cuda.empty_cache()

    def _flows_if_they_fit(self, pairs: npt.NDArray[np.uint8]) -> Tensor | None:
        import torch

        try:
            with torch.inference_mode():
                return self._flows(pairs)
        except torch.OutOfMemoryError:
            return None

    def _flows(self, pairs: npt.NDArray[np.uint8]) -> Tensor:
        """float32 [N, 2, H, W] as (dx, dy), on the device."""
        import torch

        pictures, first, second = distinct(pairs)
        grey = torch.from_numpy(pictures).to(self.device).float()
        flow = None
        for level in self._levels_of(Size(*pairs.shape[2:])):
            expanded = self._expansion.expand(_filtered(_filtered(grey, level.rows, -2), level.columns, -1))
            flow = self._start(level, len(pairs)) if flow is None else self._from_coarser(flow, level)
            flow = self._refined(expanded[first], expanded[second], flow, level)
        assert flow is not None, "a pyramid has at least the picture itself"
        return flow

    def _start(self, level: _Level, count: int) -> Tensor:
        import torch

        return torch.zeros((count, 2, *level.size), device=self.device)

    def _from_coarser(self, flow: Tensor, level: _Level) -> Tensor:
        height, width = flow.shape[-2:]
        wider = _filtered(flow, _linear(width, level.size.width).to(self.device), -1)
        return _filtered(wider, _linear(height, level.size.height).to(self.device), -2) * (1 / self.options.pyr_scale)

    def _refined(self, first: Tensor, second: Tensor, flow: Tensor, level: _Level) -> Tensor:
        for _ in range(self.options.iterations):
            flow = solved(self._window.average(equations(first, second, flow, level.edges)))
        return flow

    def _levels_of(self, size: Size) -> list[_Level]:
        """Of pictures of that size, coarsest first. Those of the last size are kept: a video has one."""
        if self._levels is None or self._levels[0] != size:
            made = [self._level(size, number) for number in reversed(range(num_levels(size, self.options)))]
            self._levels = (size, made)
        return self._levels[1]

    def _level(self, size: Size, number: int) -> _Level:
        import torch

        scale = 1.0
        for _ in range(number):
            scale *= self.options.pyr_scale
        target = Size(round(size.height * scale), round(size.width * scale))  # halves to even, as OpenCV
        kernel = _smoothing(scale)
        return _Level(
            target,
            rows=_smoothed_linear(size.height, target.height, kernel).to(self.device),
            columns=_smoothed_linear(size.width, target.width, kernel).to(self.device),
            edges=torch.from_numpy(edge_weights(target)).to(self.device),
        )


def distinct(pairs: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], list[int], list[int]]:
    """The pictures of pairs [N, 2, H, W] without those that come again at once, and which of them each pair has.

    In a video the second picture of a pair is the first of the next, so about half the work is saved.
    """
    pictures: list[npt.NDArray[np.uint8]] = []
    numbers: tuple[list[int], list[int]] = ([], [])
    for pair in pairs:
        for which, picture in enumerate(pair):
            if not pictures or not np.array_equal(pictures[-1], picture):
                pictures.append(picture)
            numbers[which].append(len(pictures) - 1)
    return np.stack(pictures), *numbers


# --- the pyramid


class _Level(NamedTuple):
    """One picture size of the pyramid. rows, columns: what makes it of the whole picture. edges: float32 [h, w]."""

    size: Size
    rows: _Taps
    columns: _Taps
    edges: Tensor


def num_levels(size: Size, options: FlowOptions) -> int:
    """Levels of the pyramid, the picture itself among them: as many as keep `LEAST_SIDE_PX`, `levels` + 1 at most."""
    count, scale = 1, options.pyr_scale
    while count <= options.levels and min(size) * scale >= LEAST_SIDE_PX:
        count += 1
        scale *= options.pyr_scale
    return count


def _smoothing(scale: float) -> npt.NDArray[np.float64]:
    """The Gaussian that keeps a picture shrunk to `scale` from aliasing; the full size is smoothed a little, too."""
    sigma = (1 / scale - 1) / 2
    if sigma == 0:
        return np.array([0.25, 0.5, 0.25])
    radius = max((round(5 * sigma) | 1) // 2, 1)
    offsets = np.arange(-radius, radius + 1)
    bell = np.exp(-(offsets**2) / (2 * sigma**2))
    return bell / bell.sum()


class _Taps(NamedTuple):
    """A linear filter along one axis: element i comes to be the sum over k of weights[k, i] * old[sources[k, i]]."""

    sources: Tensor
    weights: Tensor

    def to(self, device: str) -> _Taps:
        return _Taps(self.sources.to(device), self.weights.to(device))


def _linear(length: int, target: int) -> _Taps:
    """Linear interpolation from `length` elements to `target`; past the ends the last ones go on."""
    return _smoothed_linear(length, target, np.ones(1))


def _smoothed_linear(length: int, target: int, kernel: npt.NDArray[np.float64]) -> _Taps:
    """Smoothing by a symmetric kernel of odd size (mirrored at the ends), then linear interpolation: one filter."""
    import torch

    centres = (np.arange(target) + 0.5) * (length / target) - 0.5
    lower = np.floor(centres).astype(np.int64)
    share = centres - lower
    outside = (lower < 0) | (lower >= length - 1)
    lower, share = np.clip(lower, 0, length - 1), np.where(outside, 0.0, share)
    radius = len(kernel) // 2
    sources = _mirrored(lower + np.arange(-radius, radius + 2)[:, None], length)
    weights = np.append(kernel, 0)[:, None] * (1 - share) + np.insert(kernel, 0, 0)[:, None] * share
    used = weights.any(axis=1)  # without shrinking nothing falls between two elements
    return _Taps(torch.from_numpy(sources[used]), torch.from_numpy(weights[used].astype(np.float32)))


def _mirrored(indices: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Indices past an end, folded back at the last element, as often as it takes: -1 is 1, `length` is length - 2."""
    if length == 1:
        return np.zeros_like(indices)
    turn = np.abs(indices) % (2 * length - 2)
    return np.minimum(turn, 2 * length - 2 - turn)


def _filtered(planes: Tensor, taps: _Taps, dim: int) -> Tensor:
    """Planes filtered along one axis (-1: x, -2: y)."""
    weights = taps.weights if dim == -1 else taps.weights[:, :, None]
    total = planes.index_select(dim, taps.sources[0]) * weights[0]
    for sources, weight in zip(taps.sources[1:], weights[1:], strict=True):
        total.addcmul_(planes.index_select(dim, sources), weight)
    return total


def _extended(planes: Tensor, before: int, after: int, dim: int) -> Tensor:
    """Planes with their first and last rows (or columns) repeated."""
    import torch

    length = planes.shape[dim]
    indices = torch.arange(-before, length + after, device=planes.device).clamp_(0, length - 1)
    return planes.index_select(dim, indices)


# --- polynomial expansion


@dataclass(frozen=True)
class _Expansion:
    """Least squares fit of a quadratic to each pixel's surroundings under a Gaussian weight.

    bell, linear, square: weight w(k), k w(k), k² w(k) for k = 0 … n. The fit needs four entries of the inverse Gram
    matrix of 1, x, y, x², y², xy: at x (as at y), at 1 with x², at x², and at xy.
    """

    bell: tuple[float, ...]
    linear: tuple[float, ...]
    square: tuple[float, ...]
    at_x: float
    at_1_xx: float
    at_xx: float
    at_xy: float

    @classmethod
    def of(cls, n: int, sigma: float) -> _Expansion:
        """n: reach of the surroundings in pixels. sigma: of the weight; next to nothing means 0.3 n, as in OpenCV."""
        sigma = sigma if sigma >= np.finfo(np.float32).eps else 0.3 * n
        k = np.arange(-n, n + 1)
        bell = np.exp(-(k**2) / (2 * sigma**2)).astype(np.float32)
        bell = (bell / bell.sum(dtype=np.float64)).astype(np.float32)
        weight = np.outer(bell.astype(np.float64), bell).ravel()
        y, x = (axis.ravel() for axis in np.meshgrid(k, k, indexing="ij"))
        basis = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y]).astype(np.float64)
        inverse = np.linalg.inv((basis * weight) @ basis.T)
        half = k[n:].astype(np.float32)
        once, times_k, times_k2 = (tuple((bell[n:] * half**power).tolist()) for power in range(3))
        return cls(once, times_k, times_k2, *(float(inverse[at]) for at in ((1, 1), (0, 3), (3, 3), (5, 5))))

    def expand(self, grey: Tensor) -> Tensor:
        """Slopes and curvatures b_x, b_y, a_xx, a_yy, a_xy: float32 [F, 5, h, w] of float32 [F, h, w].

        About each pixel the picture is c + b_x x + b_y y + a_xx x² + a_yy y² + a_xy x y.
        """
        smooth, slope, bend = self._moments(grey, -2, (0, 1, 2))
        flat, along_x, along_xx = self._moments(smooth, -1, (0, 1, 2))
        along_y, along_xy = self._moments(slope, -1, (0, 1))
        [along_yy] = self._moments(bend, -1, (0,))
        found = grey.new_empty((len(grey), 5, *grey.shape[1:]))
        found[:, 0] = along_x * self.at_x
        found[:, 1] = along_y * self.at_x
        found[:, 2] = flat * self.at_1_xx + along_xx * self.at_xx
        found[:, 3] = flat * self.at_1_xx + along_yy * self.at_xx
        found[:, 4] = along_xy * self.at_xy
        return found

    def _moments(self, planes: Tensor, dim: int, powers: Sequence[int]) -> list[Tensor]:
        """Weighted sums of the surroundings times k to each of these powers, k being the distance along an axis."""
        n, length = len(self.bell) - 1, planes.shape[dim]
        padded = _extended(planes, n, n, dim)
        kernels = (self.bell, self.linear, self.square)
        found = [planes * kernels[power][0] for power in powers]
        for k in range(1, n + 1):
            after, before = padded.narrow(dim, n + k, length), padded.narrow(dim, n - k, length)
            both = after + before
            for total, power in zip(found, powers, strict=True):
                total.add_(after - before if power == 1 else both, alpha=kernels[power][k])
        return found


# --- from two expansions to displacements


def equations(first: Tensor, second: Tensor, flow: Tensor, edges: Tensor) -> Tensor:
    """What each pixel says of its displacement d: G d = h as G_xx, G_xy, G_yy, h_x, h_y, float32 [N, 5, h, w].

    first, second: expansions of the two pictures [N, 5, h, w]. flow: what is known of d so far [N, 2, h, w]; the second
    expansion is read there. edges: weights [h, w].
    """
    second = _read_at(first, second, flow)
    dx, dy = flow.unbind(1)
    a_xx, a_yy = ((first[:, 2:4] + second[:, 2:4]) * 0.5).unbind(1)
    a_xy = (first[:, 4] + second[:, 4]) * 0.25  # off the diagonal of the symmetric matrix stands half of it
    b_x, b_y = ((first[:, :2] - second[:, :2]) * 0.5).unbind(1)
    b_x = (b_x + a_xx * dx + a_xy * dy) * edges
    b_y = (b_y + a_xy * dx + a_yy * dy) * edges
    a_xx, a_yy, a_xy = a_xx * edges, a_yy * edges, a_xy * edges
    found = first.new_empty(first.shape)
    found[:, 0] = a_xx * a_xx + a_xy * a_xy
    found[:, 1] = (a_xx + a_yy) * a_xy
    found[:, 2] = a_yy * a_yy + a_xy * a_xy
    found[:, 3] = a_xx * b_x + a_xy * b_y
    found[:, 4] = a_xy * b_x + a_yy * b_y
    return found


def _read_at(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """The second expansion where the flow leads, between pixels bilinear: float32 [N, 5, h, w].

    What the flow leads out of the picture has no slope there, and the first one's curvature.
    """
    import torch

    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    # In float64, since places are given as shares of the picture: rounded, they would be off by 1e-4 pixels.
    places = torch.stack([x.double() * (2 / max(width - 1, 1)) - 1, y.double() * (2 / max(height - 1, 1)) - 1], dim=-1)
    read = torch.nn.functional.grid_sample(second.double(), places, padding_mode="border", align_corners=True).float()
    elsewhere = torch.cat([torch.zeros_like(first[:, :2]), first[:, 2:]], dim=1)
    return torch.where(inside[:, None], read, elsewhere)


def edge_weights(size: Size) -> npt.NDArray[np.float32]:
    """float32 [h, w]: `EDGE_WEIGHTS` along each edge, their products in the corners.

    In pictures with a side under twice their reach OpenCV weighs only some pixels of that side; so does this.
    """
    reach = len(EDGE_WEIGHTS)
    y, x = np.meshgrid(np.arange(size.height), np.arange(size.width), indexing="ij")
    weights = np.ones(size, dtype=np.float32)
    is_weighed = np.zeros(size, dtype=bool)
    for at, length in ((x, size.width), (y, size.height)):
        is_weighed |= (at - reach) % 2**32 >= (length - 2 * reach) % 2**32
        for distance in (at, length - 1 - at):
            near = np.array([*EDGE_WEIGHTS, 1], dtype=np.float32)[np.minimum(distance, reach)]
            weights *= near
    return np.where(is_weighed, weights, np.float32(1))


def solved(averaged: Tensor) -> Tensor:
    """The displacements of averaged equations [N, 5, h, w]: float32 [N, 2, h, w] as (dx, dy)."""
    import torch

    g_xx, g_xy, g_yy, h_x, h_y = averaged.unbind(1)
    determinant = g_xx * g_yy - g_xy * g_xy + REGULARISATION
    dx, dy = g_yy * h_x - g_xy * h_y, g_xx * h_y - g_xy * h_x
    return torch.stack([dx / determinant, dy / determinant], dim=1).float()


# --- the window over which equations are averaged


class _Window(NamedTuple):
    """A plain mean over `radius` pixels to each side (kernel: none), or a Gaussian one (kernel: for k = 0 … radius).

    divisor: of the plain mean; winsize², also where winsize is even and the window has winsize + 1 pixels a side.
    """

    radius: int
    kernel: tuple[float, ...]
    divisor: float

    def average(self, planes: Tensor) -> Tensor:
        """Equations averaged over each pixel's window, the outermost repeated beyond the edges.

        float64, for the determinant is a small difference of large products.
        """
        if self.kernel:
            return self._weighed(self._weighed(planes, -2), -1).double()
        return self._summed(self._summed(planes, -2), -1).double() / self.divisor

    def _weighed(self, planes: Tensor, dim: int) -> Tensor:
        radius, length = self.radius, planes.shape[dim]
        padded = _extended(planes, radius, radius, dim)
        total = planes * self.kernel[0]
        for k in range(1, radius + 1):
            both = padded.narrow(dim, radius + k, length) + padded.narrow(dim, radius - k, length)
            total.add_(both, alpha=self.kernel[k])
        return total

    def _summed(self, planes: Tensor, dim: int) -> Tensor:
        import torch

        if self.radius == 0:  # OpenCV's running sums count the first row (column) once too often here; so does this
            return planes + planes.narrow(dim, 0, 1)
        size = 2 * self.radius + 1
        padded = _extended(planes, self.radius, self.radius, dim)
        # A pool that divides by 1 is a sum.
        window = (1, size) if dim == -1 else (size, 1)
        return torch.nn.functional.avg_pool2d(padded, window, stride=1, divisor_override=1)


def _window(options: FlowOptions) -> _Window:
    radius = options.winsize // 2
    if not options.is_gaussian:
        return _Window(radius, (), float(options.winsize**2))
    k = np.arange(-radius, radius + 1)
    bell = np.exp(-(k**2) / (2 * (0.3 * radius) ** 2)) if radius else np.ones(1)
    bell /= bell.sum()
    return _Window(radius, tuple(bell[radius:].astype(np.float32).tolist()), 1.0)
