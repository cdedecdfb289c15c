"""Shared nouns of pictures: what a video is, which frames an operator wants of it, and what it gets.

Selectors (`every_fps`, `uniform`, `keyframes`, `at_seconds`) turn a `VideoInfo` into frame indices. They look at
numbers only, so that plans can be compared, merged and tested without a video.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

PixelFormat = Literal["rgb24", "bgr24", "gray8"]
"""`gray8` is OpenCV's grey of the bgr24 picture, as Data-Juicer computes it, not the Y plane: they differ by up to
14 % in a flow score."""

SAME_INSTANT_SECONDS = 1e-6
"""Two times closer than this are one instant; float seconds of exact rationals differ by less."""


class Size(NamedTuple):
    """Picture size in pixels, always (height, width)."""

    height: int
    width: int


def _frozen(values: npt.ArrayLike, dtype: npt.DTypeLike, name: str, ndim: int) -> npt.NDArray:
    array = np.array(values, dtype=dtype)
    if array.ndim != ndim:
        raise ValueError(f"{name}: got {array.ndim} dimensions, expected {ndim}")
    array.setflags(write=False)
    return array


class PacketDigest(NamedTuple):
    """What all packets of all video streams of a file hold, in the order in which a demuxer gives them.

    md5: of their bytes, hex. Container, metadata and other streams do not count. num_bytes: how many were hashed.
    """

    md5: str
    num_bytes: int


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """Facts of the first video stream, found by reading its packets rather than by trusting its header.

    pts_seconds: float64 [num_frames], display order, strictly increasing, first frame at 0.
    keyframes: int64 [k], indices into `pts_seconds` of frames that decode alone.
    fps: frames per second as FFmpeg guesses it (what OpenCV reports), or from `pts_seconds` where it cannot.
    duration_seconds: from the first frame's start to the last frame's end.
    rotation_degrees: counter-clockwise turn that a player applies (0, 90, 180, 270).
    size: coded picture as FFmpeg exposes it, before rotation.
    packet_bytes: of the packets whose pictures are shown. audio_seconds: of the video's time in which there are audio
        packets, of the stream that has most; 0 without audio. None, both, where the packets were not read.
    packets: None where no measure asked for it.
    """

    size: Size
    fps: float
    duration_seconds: float
    pts_seconds: npt.NDArray[np.float64]
    keyframes: npt.NDArray[np.int64]
    rotation_degrees: int = 0
    num_frames_from_header: int | None = None
    duration_seconds_from_header: float | None = None
    codec: str = ""
    container: str = ""
    pixel_format: str = ""
    has_audio: bool = False
    packet_bytes: int | None = None
    audio_seconds: float | None = None
    packets: PacketDigest | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pts_seconds", _frozen(self.pts_seconds, np.float64, "pts_seconds", 1))
        object.__setattr__(self, "keyframes", _frozen(self.keyframes, np.int64, "keyframes", 1))
        if self.size.height < 1 or self.size.width < 1:
            raise ValueError(f"size: got {self.size}, expected at least 1x1")
        if not self.fps > 0:
            raise ValueError(f"fps: got {self.fps}, expected more than 0")
        if self.rotation_degrees not in (0, 90, 180, 270):
            raise ValueError(f"rotation_degrees: got {self.rotation_degrees}, expected 0, 90, 180 or 270")
        if np.any(np.diff(self.pts_seconds) <= 0):
            raise ValueError("pts_seconds: expected strictly increasing times")

    @property
    def num_frames_from_scan(self) -> int:
        """Number of pictures in the stream, counted from its packets."""
        return len(self.pts_seconds)

    @property
    def displayed_size(self) -> Size:
        """Size after rotation, as a player shows it."""
        if self.rotation_degrees in (90, 270):
            return Size(self.size.width, self.size.height)
        return self.size


@dataclass(frozen=True)
class Look:
    """How an operator wants to see a frame: pixel format, size (None: as decoded) and whether rotation applies.

    Order of conversion: decode, bgr24 or rgb24, rotate, resize (area interpolation), grey.
    """

    pixel_format: PixelFormat
    size: Size | None = None
    apply_rotation: bool = False


@dataclass(frozen=True, eq=False)
class FramePlan:
    """Which frames one operator wants of one video, grouped into the windows that each score looks at.

    windows: int64 [N, window], frame indices into `VideoInfo.pts_seconds`. Along a row indices do not decrease and
    may repeat (Data-Juicer compares frame 1 with itself at low frame rates); last indices do not decrease from
    row to row, so that one pass in display order can fill them.
    """

    windows: npt.NDArray[np.int64]
    look: Look

    def __post_init__(self) -> None:
        windows = _frozen(self.windows, np.int64, "windows", 2)
        object.__setattr__(self, "windows", windows)
        if windows.size:
            if windows.min() < 0:
                raise ValueError(f"windows: got index {windows.min()}, expected 0 or more")
            if np.any(np.diff(windows, axis=1) < 0) or np.any(np.diff(windows[:, -1]) < 0):
                raise ValueError("windows: expected indices that do not decrease, along a row and between rows")

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """int64 [k]: every frame wanted, strictly increasing."""
        return np.unique(self.windows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FramePlan) and self.look == other.look and np.array_equal(self.windows, other.windows)

    def __hash__(self) -> int:
        return hash((self.look, self.windows.shape, self.windows.tobytes()))


@dataclass(frozen=True, eq=False)
class Windows:
    """One batch of windows, read-only.

    data: uint8 [N, window, H, W] for gray8, [N, window, H, W, 3] for rgb24 and bgr24.
    frames: int64 [N, window], the frame indices. pts_seconds: float64 [N, window].
    texts: one per window, for operators that read text; else ().
    """

    data: npt.NDArray[np.uint8]
    frames: npt.NDArray[np.int64]
    pts_seconds: npt.NDArray[np.float64]
    look: Look = field(default_factory=lambda: Look("rgb24"))
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.data, self.frames, self.pts_seconds):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.frames)


def single(indices: npt.ArrayLike, look: Look) -> FramePlan:
    """Plan of windows of one frame each. indices: int [N], strictly increasing."""
    return FramePlan(np.asarray(indices, dtype=np.int64).reshape(-1, 1), look)


def pairs(indices: npt.ArrayLike, look: Look) -> FramePlan:
    """Plan of neighbouring pairs of a sequence. indices: int [N+1], not decreasing, gives N windows of 2."""
    sequence = np.asarray(indices, dtype=np.int64)
    return FramePlan(np.stack([sequence[:-1], sequence[1:]], axis=1).reshape(-1, 2), look)


def every_fps(info: VideoInfo, sampling_fps: float) -> npt.NDArray[np.int64]:
    """Frame sequence of Data-Juicer's motion filters: 0, 1, s, 2s, ... with s = round(fps / min(sampling_fps, fps)).

    Rounding is half to even. The first pair is of two adjacent frames, and for s = 1 frame 1 comes twice: both are
    upstream's behaviour, on which its numbers rest (video_motion_score_filter, v1.4.3 and v1.6.1).

        24 fps, 2 wanted, s = 12:   0 1 12 24 36 ...
        2 fps,  2 wanted, s = 1:    0 1 1 2 3 ...

    Returns int64 [k], not decreasing; [0] for a one-frame video, [] for none.
    """
    num_frames = info.num_frames_from_scan
    if num_frames < 2:
        return np.arange(num_frames, dtype=np.int64)
    step = round(info.fps / min(sampling_fps, info.fps))
    step = max(min(step, num_frames - 1), 1)
    return np.concatenate([[0, 1], np.arange(step, num_frames, step)]).astype(np.int64)


def at_seconds(info: VideoInfo, seconds: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """First frame at or after each time, one frame serving one time; what lies past the end gets the last, once.

    seconds: float [n], not decreasing. Returns int64 [k], strictly increasing, k <= n.
    """
    chosen: list[int] = []
    num_frames = info.num_frames_from_scan
    for target in np.asarray(seconds, dtype=np.float64):
        index = int(np.searchsorted(info.pts_seconds, target - SAME_INSTANT_SECONDS))
        if chosen:
            index = max(index, chosen[-1] + 1)
        if index >= num_frames:
            if num_frames and (not chosen or chosen[-1] != num_frames - 1):
                chosen.append(num_frames - 1)
            break
        chosen.append(index)
    return np.array(chosen, dtype=np.int64)


def uniform(info: VideoInfo, count: int) -> npt.NDArray[np.int64]:
    """Data-Juicer's uniform sampling: times i * D / (count - 1), or D / 2 for one frame; D is the duration.

    The last time equals D and so takes the last frame. `count` is capped at the number of frames.
    Returns int64 [k], strictly increasing, k <= count. Source: `extract_video_frames_uniformly`, v1.4.3.
    """
    count = min(count, info.num_frames_from_scan)
    if count < 1:
        return np.zeros(0, dtype=np.int64)
    if count == 1:
        return at_seconds(info, [info.duration_seconds / 2])
    return at_seconds(info, np.arange(count) * info.duration_seconds / (count - 1))


def keyframes(info: VideoInfo) -> npt.NDArray[np.int64]:
    """Frames that decode alone, or the first frame where none is marked. Returns int64 [k], strictly increasing."""
    if len(info.keyframes):
        return np.unique(info.keyframes)
    return np.arange(min(1, info.num_frames_from_scan), dtype=np.int64)
