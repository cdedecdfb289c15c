"""Decoded frames -> RGB for whoever changes them -> frames of the same kind again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from dj_assets.frames import Size

Rgb = npt.NDArray[np.uint8]
Change = Callable[[Rgb, int], Rgb]


class Painter:
    """Applies a change to frames, one after another."""

    def __init__(self, change: Change, size: Size | None) -> None:
        self._change = change
        self._size = size
        self._to_rgb = VideoReformatter()
        self._from_rgb = VideoReformatter()

    def painted(self, frame: Any, index: int) -> Any:
        """The changed frame in the pixel format and colours of the old one; the old one where nothing changed."""
        rgb: Any = self._to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()
        rgb.setflags(write=False)
        changed = self._change(rgb, index)
        if changed is rgb and self._size in (None, Size(frame.height, frame.width)):
            return frame
        expected = (*(self._size or Size(frame.height, frame.width)), 3)
        if changed.shape != expected or changed.dtype != np.uint8:
            raise ValueError(f"changed picture: got {changed.dtype} {changed.shape}, expected uint8 {expected}")
        return self._back(changed, frame)

    def _back(self, rgb: Rgb, frame: Any) -> Any:
        new: Any = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        made: Any = self._from_rgb.reformat(
            new,
            format=frame.format.name,
            dst_colorspace=int(frame.colorspace),
            dst_color_range=int(frame.color_range),
            threads=1,
        )
        made.colorspace, made.color_range = frame.colorspace, frame.color_range
        made.color_primaries, made.color_trc = frame.color_primaries, frame.color_trc
        return made
