"""What a mapper is: it makes other media or other words of a sample, through a bench that the engine hands it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dj_assets.frames import FramePlan, Size, VideoInfo, Windows
from dj_assets.operators._contract import Compute, Device, Params, Requirement, no_model, nothing

Rgb = npt.NDArray[np.uint8]

Role = Literal["clips", "video", "frames", "words"]
"""What the products of a video are. `clips`: pieces that take its place, a video token of the text for each. `video`:
one that takes its place. `frames`: pictures, listed in a field of their own. `words`: a new text, no media."""


class Span(NamedTuple):
    """Frames `first` up to, not including, `stop`, by their place in `VideoInfo.pts_seconds`."""

    first: int
    stop: int


@dataclass(frozen=True)
class Product:
    """One thing made of one video.

    path: absolute, of the file; empty for words. begin_seconds, end_seconds: what it shows of its parent, on the
    parent's clock, its first frame being 0; the whole of it by default. text: the words. is_parent: the parent's own
    file, nothing having been to do.
    """

    path: str = ""
    begin_seconds: float = 0.0
    end_seconds: float = 0.0
    text: str = ""
    is_parent: bool = False


class Bench(Protocol):
    """One opened video, and the tools to make others of it. Given by the engine, in a worker process.

    Every file is named after its parent's stem and what it is made from (parent's content, mapper, params, span), is
    written beside and renamed, and stands in the folder that the recipe or the dataset says. Audio packets go along as
    they are, cut to the same time. Methods raise `MediaError` where the video cannot be read or written.
    """

    info: VideoInfo
    text: str
    """Of the sample; empty where it has none."""

    def windows(self, plan: FramePlan) -> Iterator[Windows]:
        """Batches of pictures, as an operator's `score` gets them; bounded memory."""

    def parent(self) -> Product:
        """The video itself, for where nothing is to do."""

    def clips(self, spans: Sequence[Span]) -> list[Product]:
        """A video of each span, first to last, cut to the frame, in one decode of the parent."""

    def filtered(self, chain: Sequence[tuple[str, Mapping[str, str]]]) -> Product:
        """The whole video through FFmpeg's video filters, each a name and its arguments, handed over as data."""

    def redrawn(self, change: Callable[[Rgb, int], Rgb], *, size: Size | None = None) -> Product:
        """The whole video, each picture changed. change(picture, index): uint8 [H, W, 3] RGB, to that or `size`."""

    def picture(self, rgb: Rgb, name: str) -> Product:
        """A JPEG file. name: what tells it from the video's other pictures, such as `frame_0`."""


@dataclass(frozen=True, kw_only=True)
class Mapper:
    """A mapper.

    make(bench, params, model): the products of one video, in order. One call for each distinct video and set of params
        (and text, where `reads_text`); what it gave is kept, and never made twice while its files are there.
    load(params, device): the model, once per worker process.
    frames_option: for `frames`, the option that names the manifest field of the pictures.
    keeps_original: the option by which the sample itself stays, before the new one; empty: it never does.
    reads_text: whether products hang on the sample's text.
    reads_text_if(params): whether they do under these params, where that hangs on an option; see `wants_text`.
    requires(params, device): what `load` needs and may not find, as an `Operator` has it.
    """

    name: str
    version: int
    summary: str
    compute: Compute
    role: Role
    params: type[Params]
    make: Callable[[Bench, Any, Any], Sequence[Product]]
    load: Callable[[Any, Device], Any] = no_model
    frames_option: str = ""
    keeps_original: str = ""
    reads_text: bool = False
    reads_text_if: Callable[[Any], bool] | None = None
    requires: Callable[[Any, Device], Sequence[Requirement]] = nothing
    device_moves_result: bool = False
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "mapper"

    def wants_text(self, params: Any) -> bool:
        """Whether products of a video hang on the sample's text under these params."""
        return self.reads_text and (self.reads_text_if is None or self.reads_text_if(params))
