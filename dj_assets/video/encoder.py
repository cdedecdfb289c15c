"""How a video stream is encoded: which encoder, at which quality, in which pixel format. No file in sight.

The encoders are those that the PyAV wheel brings, x264 first. Quality is fixed and high, so that what is trained on a
clip sees the parent's pictures; one thread, so that the same pictures give the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import av

from dj_assets.errors import DjAssetsError
from dj_assets.frames import Size


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders. options: its settings. keeps: pixel formats that it takes as they are.

    takes_odd: whether sides may be odd where chroma has half as many samples.
    """

    name: str
    options: Mapping[str, str]
    in_order: Mapping[str, str]
    keeps: frozenset[str]
    takes_odd: bool


X264 = Encoder(
    "libx264",
    # 18 is where losses begin to be seen; `faster` takes two thirds of the time of the default for as many bytes.
    # mbtree hangs on what lies in memory: the same pictures came out as other bytes, one time in ten.
    {"crf": "18", "preset": "faster", "mbtree": "0"},
    in_order={"bf": "0"},
    keeps=frozenset(
        f"yuv{full}{chroma}p{depth}"
        for full, depth in (("", ""), ("j", ""), ("", "10le"))
        for chroma in ("420", "422", "444")
    ),
    takes_odd=False,
)
VP9 = Encoder(
    "libvpx-vp9",
    {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "0"},
    in_order={},
    keeps=frozenset(("yuv420p", "yuv422p", "yuv444p")),
    takes_odd=True,
)
ENCODERS = (X264, VP9)
"""In the order of preference. The second is for builds of FFmpeg without GPL parts."""


class NoEncoder(DjAssetsError):
    """This PyAV was built without any encoder that is used here."""


@cache
def encoder() -> Encoder:
    """The first encoder that this PyAV has. Raises `NoEncoder`."""
    for candidate in ENCODERS:
        if _has(candidate.name):
            return candidate
    names = " or ".join(candidate.name for candidate in ENCODERS)
    raise NoEncoder(
        "this build of PyAV cannot write videos",
        allowed=f"one with the encoder {names}",
        try_="pip install av, whose wheels have both",
    )


def _has(name: str) -> bool:
    try:
        return bool(av.Codec(name, "w").is_encoder)
    except (av.codec.codec.UnknownCodecError, ValueError):
        return False


def pixel_format(of: Encoder, source: Any, size: Size) -> str:
    """The format that keeps most of `source`, an `av.VideoFormat`: its own, else by depth and chroma.

    Alpha is dropped, more than 10 bits become 10, RGB becomes 4:4:4, and so do odd sizes where they must be even.
    """
    is_odd = not of.takes_odd and bool(size.height % 2 or size.width % 2)
    if source.name in of.keeps and not is_odd:
        return str(source.name)
    chroma = "444" if is_odd else _chroma(source)
    is_deep = max(component.bits for component in source.components) > 8
    full = "j" if source.name.startswith("yuvj") else ""  # FFmpeg's old names for YUV of full range
    wanted = f"yuv{full}{chroma}p{'10le' if is_deep else ''}"
    return wanted if wanted in of.keeps else f"yuv{chroma}p"


def _chroma(source: Any) -> str:
    """`420`, `422` or `444`: the least that holds a format's chroma samples."""
    if source.is_rgb or source.has_palette:
        return "444"
    if sum(not component.is_alpha for component in source.components) == 1:
        return "420"  # grey
    side = 64  # any that halves twice
    if source.chroma_width(side) > side // 2:
        return "444"
    return "422" if source.chroma_height(side) > side // 2 else "420"
