"""What an operator over the whole dataset is, a deduplicator or a selector: it says who stays of all who are left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from dj_assets.operators._contract import Operator, Params


@dataclass(frozen=True)
class Candidate:
    """One sample that every earlier step of the recipe lets pass.

    sample_id, and order: its place in the dataset, whenever it arrived. record: the user's, with what was measured so
    far under `__dj__stats__`. details: of each of its videos, in order, the text that the step's measure found (a hash,
    say); () where the operator measures nothing.
    """

    sample_id: str
    order: int
    record: Mapping[str, Any]
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Who does not stay, and why. dropped: sample id -> reason in words, naming the sample that stays instead where
    there is one. of: sample id -> that sample's id."""

    dropped: Mapping[str, str]
    of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A deduplicator or selector.

    measure: what it wants to know of each video, as an operator whose `score` gives a detail; None: it goes by the
        record alone. Its facts are stored and reused as any filter's.
    choose(candidates, params): candidates in the order of the dataset. Pure: the same whatever order shards came in.
    """

    name: str
    version: int
    summary: str
    kind: Literal["deduplicator", "selector"]
    params: type[Params]
    choose: Callable[[Sequence[Candidate], Any], Choice]
    measure: Operator | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    is_whole: ClassVar[bool] = True
