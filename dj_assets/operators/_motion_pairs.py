"""The frame pairs that Data-Juicer's motion filters compare, and the size at which they do."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import FramePlan, Look, PixelFormat, Size, VideoInfo, every_fps, pairs
from dj_assets.operators._contract import Params


class PairParams(Params):
    """Which pairs are compared, and at which size. Sizes in pixels."""

    sampling_fps: float = Field(2.0, gt=0, description="frames per second to compare, more than 0")
    size: int | tuple[int] | tuple[int, int] | None = Field(
        None, description="short side in pixels, or [short, long], or null for the picture as it is"
    )
    max_size: int | None = Field(None, ge=1, description="upper limit of the long side in pixels, or null")
    divisible: int = Field(1, ge=1, description="both sides are cut to multiples of this many pixels")
    relative: bool = Field(False, description="true: divide by the picture's diagonal")
    data_juicer_resize: bool = Field(False, description="true: swap the sides of the resized picture, as upstream does")

    def warnings(self) -> Sequence[str]:
        """Tells of the resize that differs from upstream's, wherever it can matter."""
        resizes = self.size is not None or self.max_size is not None or self.divisible > 1
        if not resizes:
            return ()
        if self.data_juicer_resize:
            return ("pictures are resized with width and height swapped, as Data-Juicer does (data_juicer_resize)",)
        return (
            "pictures are resized the right way round; Data-Juicer swaps width and height here, so scores differ from "
            "its own unless data_juicer_resize: true",
        )


def resized(size: Size, params: PairParams) -> Size | None:
    """Picture size that flow is computed at, or None where it stays as it is.

    `size` is matched by the short side (a pair gives short and long side), `max_size` caps the long side, then both are
    cut down to multiples of `divisible`. Upstream computes (height, width) and hands it to a call that takes
    (width, height); `data_juicer_resize` does the same.
    """
    short, long = float(min(size)), float(max(size))
    wanted = params.size if isinstance(params.size, tuple) else (params.size,) if params.size else ()
    if len(wanted) == 2:
        short, long = float(min(wanted)), float(max(wanted))
    elif wanted:
        short, long = float(wanted[0]), float(int(wanted[0] * long / short))
    if params.max_size is not None and long > params.max_size:
        short, long = float(int(short * params.max_size / long)), float(params.max_size)
    short_px = max(int(short / params.divisible) * params.divisible, 1)
    long_px = max(int(long / params.divisible) * params.divisible, 1)
    target = Size(short_px, long_px) if size.width >= size.height else Size(long_px, short_px)
    if target == size:
        return None
    return Size(target.width, target.height) if params.data_juicer_resize else target


def sampled_pairs(info: VideoInfo, params: PairParams, pixel_format: PixelFormat) -> FramePlan:
    """Pairs (0, 1), (1, s), (s, 2s) ... with s = round(fps / min(sampling_fps, fps)), turned as players do."""
    if info.num_frames_from_scan < 2:
        raise TooShort(
            f"the video has {info.num_frames_from_scan} frame",
            allowed="at least 2 frames, for motion is measured between frames",
            try_="drop stills with video_duration_filter, or leave them undecided",
        )
    look = Look(pixel_format, resized(info.displayed_size, params), apply_rotation=True)
    return pairs(every_fps(info, params.sampling_fps), look)
