"""What an operator is: a declaration over plain functions, one file each, found by its name."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from dj_assets.errors import DjAssetsError
from dj_assets.frames import FramePlan, VideoInfo, Windows

Compute = Literal["record", "header", "cpu", "gpu"]
"""`record`: the sample's record, no video. `header`: packet facts only. `cpu`: decoded frames, and at most a model so
small that each worker has one of its own. `gpu`: a model, on the CPU where there is no GPU."""

Device = Literal["cpu", "cuda"]


class Params(BaseModel):
    """Options that change an operator's number. Subclass per operator; unknown options are refused, and so are numbers
    that are not finite: JSON, as which options go to workers and into ids, has none.

    added: options that came after the operator had stored its first number -> the value that it had worked by until
    then, in JSON form. `canonical` leaves them out at that value, so that what is stored keeps its measure id.
    whereabouts: options that say where something is to be had, or whether it may be fetched. They move no number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    added: ClassVar[Mapping[str, Any]] = {}
    whereabouts: ClassVar[frozenset[str]] = frozenset()

    def on(self, device: Device) -> Self:
        """With every default that depends on the device or on this machine's weights filled in. Twice is as good as
        once. Imports nothing heavy: definitions are loaded with it every minute."""
        return self

    def canonical(self) -> dict[str, Any]:
        """JSON form with every default spelled out but those of `added`, so that leaving one out is the same measure;
        without `whereabouts`.

        Defaults that depend on the device are spelled out only after `on`.
        """
        spelled_out = json.loads(self.model_dump_json(exclude=set(self.whereabouts)))
        return {
            name: value for name, value in spelled_out.items() if name not in self.added or value != self.added[name]
        }

    def warnings(self) -> Sequence[str]:
        """Lines that a user should read once when the recipe is loaded."""
        return ()


@dataclass(frozen=True)
class Stat:
    """One number per video (of `record` operators: per sample), under Data-Juicer's name, with its unit and the range
    that it can have. is_flag: 1 for yes and 0 for no; it has no bounds, and yes is what passes."""

    name: str
    unit: str
    low: float = 0.0
    high: float = float("inf")
    is_integer: bool = False
    is_flag: bool = False

    def plain(self, value: float | None) -> float | int | bool | None:
        """A number of it as JSON holds it; what is not finite was not measured."""
        if value is None or value - value != 0:
            return None
        return bool(value) if self.is_flag else int(value) if self.is_integer else value


def flag(name: str, unit: str = "1 for yes, 0 for no") -> Stat:
    """A stat that is yes or no."""
    return Stat(name, unit, high=1.0, is_integer=True, is_flag=True)


def number(value: Any) -> float:
    """Default reading of a bound: a finite or infinite number. Raises ValueError on anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number, got {value!r}")
    result = float(value)
    if result != result:
        raise ValueError("expected a number, got NaN")
    return result


@dataclass(frozen=True)
class Bound:
    """A recipe option that changes only the verdict: keep where the stat is at least / at most it."""

    option: str
    stat: str
    side: Literal["min", "max"]
    default: float
    read: Callable[[Any], float] = number
    help: str = ""


class Requirement(Protocol):
    """Something that a step needs and that may be absent: weights, or a package that brings a model."""

    def missing(self) -> DjAssetsError | None:
        """What to install or set; None where it is there, or where `fetch` may get it. Imports nothing heavy, and never
        touches the network."""

    def fetch(self) -> None:
        """Get it, where the recipe allows that; nothing where it is there. Raises what `missing` would return."""


def nothing(params: Any, device: Device) -> Sequence[Requirement]:
    """`requires` of an operator that comes with all it needs."""
    return ()


class Scores(NamedTuple):
    """values: float64 [N], one per window, or [N, S] for an operator of S stats, in their order.

    details: JSON text per window (text boxes, say) or empty.
    """

    values: npt.NDArray[np.float64]
    details: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class View:
    """One scored window, for `draw`.

    pictures: uint8 [window, h, w, 3]: its frames in RGB, turned as the plan asks, at the size at which they are shown.
    seen: uint8 [window, H, W] or [window, H, W, 3]: the very pictures that were scored. pts_seconds: one per frame.
    detail: JSON text as `score` gave it; empty where there is none.
    """

    pictures: npt.NDArray[np.uint8]
    seen: npt.NDArray[np.uint8]
    pts_seconds: tuple[float, ...]
    detail: str = ""


class Scale(NamedTuple):
    """What the colours of a picture mean. colours: uint8 [n, 3], RGB, for values from 0 to `high` in `unit`."""

    colours: npt.NDArray[np.uint8]
    high: float
    unit: str


class Panel(NamedTuple):
    """One picture that explains a window: uint8 [h, w, 3], RGB, with a line below it."""

    picture: npt.NDArray[np.uint8]
    caption: str = ""
    scale: Scale | None = None


def mean(values: npt.NDArray[np.float64]) -> float:
    """Plain mean of window values. values: float64 [N], N >= 1."""
    return float(np.mean(values))


def median(values: npt.NDArray[np.float64]) -> float:
    """Median of window values, which a few odd windows do not move. values: float64 [N], N >= 1."""
    return float(np.median(values))


def no_model(params: Any, device: Device) -> None:
    """`load` of an operator that needs no model."""


def no_fields(params: Any) -> Sequence[str]:
    """`fields` of an operator that names none."""
    return ()


def no_name(params: Any) -> str:
    """`named` of an operator whose stat has one name."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A filter. Give `judge` (operators on records), `read` (header operators) or `plan` and `score` (on frames).

    summary: one line for people; it names the unit.
    version: raised when the numbers change, with the reason in the changelog.
    judge(record, params): one number per stat, in the order of `stats`, of a sample's record, which must not be
        written to. Pure and quick: no worker stands around it. Raises `NoValue` where the record has nothing to judge.
        A param `text_key` is the recipe's own unless the step sets it.
    fields(params): dotted names of the record's fields that `judge` reads, where they follow the params.
    shown(record, params): what Data-Juicer writes into `__dj__stats__` instead of the number; of one stat.
    named(params): the stat's name there, where it follows the params; empty for that of `stats`.
    read(info, params): one number per stat, in the order of `stats`; as `Scores` where a text goes with them.
    plan(info, params): the frames wanted. Raises `TooShort` where there are too few.
    load(params, device): the model, once per worker process; heavy imports belong here.
    requires(params, device): what `load` needs and may not find. Asked for before any video is decoded.
    also_on: devices that a `cpu` operator runs on as well, only where a recipe's `accelerator` names one: its number
        there is another measure, and the step belongs to the `gpu` pass.
    score(windows, params, model): one value per window and stat; must not write to `windows.data`.
    reduce(values): the stat from its window values, float64 [N] -> float; of several stats each from its own.
    reduce_by(params): the reducer, where an option names it; then `reduce` is not looked at.
    draw(views, params): optional evidence: the panels of each view, in order. Views come one by one as they are
        decoded, so keep of each only what its panels need; seeing all of them allows for one scale. Without it,
        evidence shows the frames as they are.
    preview_panels: how many of a view's first panels make a looping preview; 0: this is not better seen moving.
    reads_text: whether a number is of a video and a text. Then `windows.texts` holds one per window.
    device_moves_number: whether CPU and GPU give different numbers (then the device is part of the measure).
    reads_packets: whether `read` looks at `VideoInfo.packets`, for which every byte of every packet is hashed.
    ignored: upstream options that are accepted here without effect -> why, in one line.
    refused: upstream options that must stay null, or at upstream's default, since ignoring them would give other
        numbers -> what to do.
    """

    name: str
    version: int
    summary: str
    compute: Compute
    params: type[Params]
    stats: tuple[Stat, ...]
    bounds: tuple[Bound, ...]
    judge: Callable[[Mapping[str, Any], Any], Sequence[float]] | None = None
    fields: Callable[[Any], Sequence[str]] = no_fields
    shown: Callable[[Mapping[str, Any], Any], Any] | None = None
    named: Callable[[Any], str] = no_name
    read: Callable[[VideoInfo, Any], Sequence[float] | Scores] | None = None
    plan: Callable[[VideoInfo, Any], FramePlan] | None = None
    load: Callable[[Any, Device], Any] = no_model
    requires: Callable[[Any, Device], Sequence[Requirement]] = nothing
    also_on: tuple[Device, ...] = ()
    score: Callable[[Windows, Any, Any], Scores] | None = None
    reduce: Callable[[npt.NDArray[np.float64]], float] = mean
    reduce_by: Callable[[Any], Callable[[npt.NDArray[np.float64]], float]] | None = None
    draw: Callable[[Iterable[View], Any], list[tuple[Panel, ...]]] | None = None
    preview_panels: int = 0
    reads_text: bool = False
    device_moves_number: bool = False
    reads_packets: bool = False
    any_or_all_default: Literal["any", "all"] = "any"
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "filter"

    def __post_init__(self) -> None:
        frames = self.plan is not None and self.score is not None
        if [self.judge is not None, self.read is not None, frames].count(True) != 1:
            raise TypeError(f"{self.name}: give either judge, or read, or plan and score")
        if (self.compute == "header") != (self.read is not None):
            raise TypeError(f"{self.name}: compute is 'header' exactly when read is given")
        if (self.compute == "record") != (self.judge is not None):
            raise TypeError(f"{self.name}: compute is 'record' exactly when judge is given")
        if self.shown is not None and len(self.stats) != 1:
            raise TypeError(f"{self.name}: shown stands for the number of one stat")
        if self.also_on and (self.compute != "cpu" or "cpu" in self.also_on):
            raise TypeError(f"{self.name}: also_on names other devices of an operator whose compute is 'cpu'")
        if self.reads_text and not frames:
            raise TypeError(f"{self.name}: an operator that reads text looks at frames, too")
        names = {stat.name for stat in self.stats}
        for bound in self.bounds:
            if bound.stat not in names:
                raise TypeError(f"{self.name}: bound {bound.option} names no stat of it: {bound.stat}")
            if any(stat.is_flag for stat in self.stats if stat.name == bound.stat):
                raise TypeError(f"{self.name}: bound {bound.option} is on {bound.stat}, which is yes or no")

    @property
    def is_about_samples(self) -> bool:
        """Whether its subject is the sample itself instead of each of its videos."""
        return self.judge is not None

    @property
    def option_names(self) -> tuple[str, ...]:
        """Every option of its own that a recipe may set."""
        return (
            *self.params.model_fields,
            *(bound.option for bound in self.bounds),
            *self.ignored,
            *self.refused,
        )

    def reducer(self, params: Params) -> Callable[[npt.NDArray[np.float64]], float]:
        """How window values become the stat."""
        return self.reduce if self.reduce_by is None else self.reduce_by(params)

    def measure_id(self, params: Params, device: Device) -> str:
        """Stable id of (operator, version, canonical params, device where it moves the number): 16 hex digits."""
        facts = {"operator": self.name, "version": self.version, "params": params.on(device).canonical()}
        if self.device_moves_number or device in self.also_on:
            facts["device"] = device
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class NoParams(Params):
    """For operators whose number no option changes."""


MAX_FLOAT = sys.float_info.max
MAX_INT = float(sys.maxsize)
