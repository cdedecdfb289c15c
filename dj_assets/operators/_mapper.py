"""What a mapper is: it makes other media or other words of a sample, through a bench that the engine hands it."""

from __future__ import annotations

import hashlib
import json
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
        """A video of each span, first to last, cut to the frame, in one decode of the parent. spans: by rising first
        frame; they may overlap."""

    def filtered(self, chain: Sequence[tuple[str, Mapping[str, str]]], *, upright: bool = False) -> Product:
        """The whole video through FFmpeg's video filters, each a name and its arguments, handed over as data.

        upright: turn the pictures first, as players do; no turn is then left to them. Else filters see coded pictures.
        """

    def redrawn(self, change: Callable[[Rgb, int], Rgb], *, size: Size | None = None) -> Product:
        """The whole video, each picture changed. change(picture, index): uint8 [H, W, 3] RGB, coded and not turned,
        not to be written to, to one of that shape or of `size`. To give back the array itself leaves a picture alone.
        """

    def picture(self, rgb: Rgb, name: str, *, at_seconds: float) -> Product:
        """A JPEG file. name: what tells it from the video's other pictures, such as `frame_0`. at_seconds: when it is
        shown, on the parent's clock."""


@dataclass(frozen=True, kw_only=True)
class Mapper:
    """A mapper.

    make(bench, params, model): the products of one video, in order. One call for each distinct video and set of params
        (and text, where `reads_text`); what it gave is kept, and never made twice while its files are there.
    load(params, device): the model, once per worker process.
    frames_option: for `frames`, the option that names the manifest field of the pictures; default `video_frames`.
    folder_option: the option that names the folder of the products.
    aliases: older names of options -> the name of today.
    keeps_original: the option by which the sample itself stays, before the new one; empty: it never does.
    reads_text: whether products hang on the sample's text.
    reads_text_if(params): whether they do under these params, where that hangs on an option; see `wants_text`.
    requires(params, device): what `load` needs and may not find, as an `Operator` has it.
    field_option: the option that names a field of the record. Where a step sets it, products hang on that field: the
        bench's text is then its value in JSON, `null` where a record has none.
    closes_chunks: for `clips`, whether upstream ends each chunk of the new text by its end token.
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
    folder_option: str = "save_dir"
    aliases: Mapping[str, str] = field(default_factory=dict)
    keeps_original: str = ""
    reads_text: bool = False
    reads_text_if: Callable[[Any], bool] | None = None
    requires: Callable[[Any, Device], Sequence[Requirement]] = nothing
    field_option: str = ""
    closes_chunks: bool = False
    device_moves_result: bool = False
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "mapper"

    def __post_init__(self) -> None:
        if (self.role == "frames") != bool(self.frames_option):
            raise TypeError(f"{self.name}: frames_option is given exactly where the role is 'frames'")
        taken = self.params.model_fields.keys() & {*self.engine_options, *self.aliases}
        if taken:
            raise TypeError(f"{self.name}: {', '.join(sorted(taken))} move no product, so they are no params")

    @property
    def engine_options(self) -> tuple[str, ...]:
        """Options that change no product, but where it goes and what becomes of the sample."""
        own = [self.keeps_original, self.frames_option, self.folder_option]
        return (*filter(None, own), *(["clip_per_sample"] if self.role == "clips" else []))

    @property
    def option_names(self) -> tuple[str, ...]:
        """Every option of its own that a recipe may set."""
        return (*self.params.model_fields, *self.engine_options, *self.aliases, *self.ignored, *self.refused)

    def wants_text(self, params: Any) -> bool:
        """Whether products of a video hang on the sample's text under these params."""
        return self.reads_text and (self.reads_text_if is None or self.reads_text_if(params))

    def measure_id(self, params: Params, device: Device) -> str:
        """Stable id of (mapper, version, canonical params, device where it moves the result): 16 hex digits."""
        facts = {"operator": self.name, "version": self.version, "params": params.on(device).canonical()}
        if self.device_moves_result:
            facts["device"] = device
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
