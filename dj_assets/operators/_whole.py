"""What an operator over the whole dataset is, a deduplicator or a selector: it says who stays of all who are left.

sample ─paper─► what of it counts, small and JSON      once, when its shard arrives
papers ─relate─► pairs that matter, where it has any   once for each pair
candidates, pairs ─choose─► who goes, and why          again with every shard
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dj_assets.operators._contract import NoParams, Operator, Params

Paper = Any
"""What of a sample counts: None, a bool, number or text, or lists and objects of these. It comes back from JSON."""


Related = Mapping[str, Sequence[tuple[str, float]]]
"""A paper as JSON text -> the papers that it is related to, each with a weight. Both ways."""


@dataclass(frozen=True)
class Applicant:
    """One sample as `paper` sees it: one that every earlier step of the recipe may let pass.

    record: the user's, with what earlier steps measured under `__dj__stats__` as exports have it. text: of the
    recipe's text field, None where it has none. paths: absolute, of its videos in the step's field, in order.
    details: of each of these the texts that the step's measure gave; () where it measures nothing.
    """

    sample_id: str
    record: Mapping[str, Any]
    text: str | None = None
    paths: tuple[str, ...] = ()
    details: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One sample that every earlier step of the recipe lets pass. text: its paper as JSON."""

    sample_id: str
    text: str

    @property
    def paper(self) -> Paper:
        """What of it counts."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Choice:
    """Who does not stay, and why. dropped: sample id -> reason in words, naming the sample that stays instead where
    there is one. of: sample id -> that sample's id."""

    dropped: Mapping[str, str] = field(default_factory=dict)
    of: Mapping[str, str] = field(default_factory=dict)


class Fault(NamedTuple):
    """An option that cannot be meant in this recipe, in the three parts of an error."""

    option: str
    given: str
    allowed: str
    try_: str


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A deduplicator or selector.

    version: raised when other samples stay, with the reason in the changelog.
    measure: what it wants to know of each video, as an operator that gives details. Its facts are stored and reused as
        any filter's; its params are options of this operator, too. None: it goes by the record alone.
    params: options that change the choice alone; moving one measures nothing anew.
    paper(applicant, params): what of one sample counts. Raises `DjAssetsError` where it cannot take part at all.
    relate(papers, params, first_new): pairs of papers that the choice asks about, with a weight; first < second, and
        of two before `first_new` none, since these are known. Whether two are a pair hangs on these two alone.
    choose(candidates, params, related): candidates in the order of the dataset; related: what `relate` says of their
        papers. Pure: it hangs on nothing else, so that the same samples stay whatever order shards came in. Raises
        `DjAssetsError` where nothing can be chosen.
    keeps(params): which samples stay, in words.
    fault(params, stats): an option that cannot be meant; stats: export names of what earlier steps measure, and whether
        each is a list, one number per video.
    """

    name: str
    version: int
    summary: str
    kind: Literal["deduplicator", "selector"]
    params: type[Params]
    paper: Callable[[Applicant, Any], Paper]
    choose: Callable[[Sequence[Candidate], Any, Related], Choice]
    keeps: Callable[[Any], str]
    relate: Callable[[Sequence[Paper], Any, int], Iterable[tuple[int, int, float]]] | None = None
    fault: Callable[[Any, Mapping[str, bool]], Fault | None] = lambda params, stats: None
    measure: Operator | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.measure is None:
            return
        if self.measure.name != self.name or self.measure.bounds or len(self.measure.stats) != 1:
            raise TypeError(f"{self.name}: its measure has the same name, one stat and no bounds")
        if both := set(self.measure.params.model_fields) & set(self.params.model_fields):
            raise TypeError(f"{self.name}: {', '.join(sorted(both))}: of the measure and of the choice as well")

    @property
    def operator(self) -> Operator:
        """What a step of it measures; an operator without stats, which no pass runs, where that is nothing."""
        return self.measure or Operator(
            name=self.name,
            version=self.version,
            summary=self.summary,
            compute="header",
            params=NoParams,
            stats=(),
            bounds=(),
            read=lambda info, params: (),
        )

    @property
    def option_names(self) -> tuple[str, ...]:
        """Every option of its own that a recipe may set."""
        measured = () if self.measure is None else self.measure.params.model_fields
        return (*measured, *self.params.model_fields, *self.ignored, *self.refused)

    def rule_id(self, params: Params) -> str:
        """Stable id of how it chooses: name, version and the options of the choice; 16 hex digits."""
        facts = {"operator": self.name, "version": self.version, "params": params.canonical()}
        return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


def first_of_each(
    candidates: Sequence[Candidate], key: Callable[[Candidate], Any], *, says: Callable[[str], str]
) -> Choice:
    """The first candidate of each key stays; one whose key is None always does. says(sample id): why another goes."""
    first: dict[Any, str] = {}
    of: dict[str, str] = {}
    for candidate in candidates:
        value = key(candidate)
        if value is not None and (stays := first.setdefault(value, candidate.sample_id)) != candidate.sample_id:
            of[candidate.sample_id] = stays
    return Choice({gone: says(stays) for gone, stays in of.items()}, of)


def all_but(candidates: Sequence[Candidate], chosen: Collection[int], *, says: str) -> Choice:
    """The candidates at these places stay, every other one goes for one reason."""
    return Choice({one.sample_id: says for place, one in enumerate(candidates) if place not in chosen})
