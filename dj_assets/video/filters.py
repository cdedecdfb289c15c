"""FFmpeg's video filters, each by its name and its arguments as data: no graph is ever parsed from text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av.error
import av.filter

from dj_assets.errors import Unreadable

Chain = Sequence[tuple[str, Mapping[str, str]]]
"""Filters in order, each a name and its arguments."""

UPRIGHT: Mapping[int, Chain] = {
    0: (),
    90: (("transpose", {"dir": "cclock"}),),
    180: (("hflip", {}), ("vflip", {})),
    270: (("transpose", {"dir": "clock"}),),
}
"""Counter-clockwise turn in degrees -> the filters that do it."""


class Timed(NamedTuple):
    """A picture to be shown from `ticks` on, for `duration` ticks, counted from the begin of what is written."""

    frame: Any
    ticks: int
    duration: int
    time_base: Fraction


def filtered(
    path: str, chain: Chain, frames: Iterator[Timed], pixel_aspect: Fraction | None, *, end: Fraction
) -> Iterator[Timed]:
    """What comes out where `frames` go in; durations reach from one picture to the next, and to `end`, in seconds.

    Raises `Unreadable` where a filter refuses the pictures, or lets time run backwards. path: for its message.
    """
    before: Timed | None = None
    for picture in _through(path, chain, frames, pixel_aspect):
        if before is not None:
            if picture.ticks <= before.ticks:
                raise _refusal(path, chain, "pictures come out whose times do not rise")
            yield before._replace(duration=picture.ticks - before.ticks)
        before = picture
    if before is not None:
        left = round(end / before.time_base) - before.ticks
        yield before._replace(duration=left if left > 0 else before.duration)


def _through(path: str, chain: Chain, frames: Iterator[Timed], pixel_aspect: Fraction | None) -> Iterator[Timed]:
    graph: Any = None
    try:
        for picture in frames:
            frame = picture.frame
            frame.pts, frame.duration, frame.time_base = picture.ticks, picture.duration, picture.time_base
            if graph is None:
                graph = _graph(chain, picture, pixel_aspect)
            graph.vpush(frame)
            yield from _ready(graph)
        if graph is not None:
            graph.vpush(None)
            yield from _ready(graph)
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise _refusal(path, chain, getattr(error, "strerror", None) or str(error)) from None


def _graph(chain: Chain, picture: Timed, pixel_aspect: Fraction | None) -> Any:
    frame = picture.frame
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(picture.time_base),
        pixel_aspect=str(pixel_aspect or 0),
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    nodes = [source, *(graph.add(name, **arguments) for name, arguments in chain), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph


def _ready(graph: Any) -> Iterator[Timed]:
    """Pictures that the graph gives without more coming in."""
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield Timed(frame, frame.pts, frame.duration or 1, Fraction(frame.time_base))


def _refusal(path: str, chain: Chain, why: str) -> Unreadable:
    names = ", ".join(name for name, _ in chain)
    return Unreadable(
        f"{path}: its pictures do not go through FFmpeg's {names}: {why}",
        allowed="arguments that suit the video",
        try_="change the step's arguments",
    )
