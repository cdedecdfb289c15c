"""What a finished run did, gathered from its tables, for the closing lines of `process`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dj_assets.plan import Plan, Step
    from dj_assets.samples import Sample
    from dj_assets.store.rows import Row, Verdict
    from dj_assets.store.store import Store

MOST_EXAMPLES = 10


@dataclass(frozen=True)
class Example:
    """An undecided sample: the path of the video that could not be measured as the manifest spells it, else the
    sample's own place; and why."""

    status: str
    path: str
    reason: str


@dataclass
class VideoCounts:
    """Videos of one step's tables, or samples of one on records, by where their numbers come from. A video that several
    samples list counts as often. unmeasured: undecided, for any reason but `skipped`."""

    measured: int = 0
    reused: int = 0
    skipped: int = 0
    unmeasured: int = 0

    def __str__(self) -> str:
        shown = [f"{count} {name}" for name, count in vars(self).items() if count]
        return ", ".join(shown) or "none"


@dataclass
class Outcome:
    """videos: by step key. examples: undecided samples, at most `MOST_EXAMPLES`, of every status at least one."""

    videos: dict[str, VideoCounts] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    def add(self, later: Outcome) -> None:
        """Take in what another stage of the same recipe did. A step's key is one in the whole recipe."""
        self.videos |= later.videos
        by_status: dict[str, list[Example]] = {}
        for example in (*self.examples, *later.examples):
            by_status.setdefault(example.status, []).append(example)
        self.examples = choose_examples(by_status.values())


def gather(plan: Plan, store: Store, shard_keys: Iterable[str]) -> Outcome:
    """Read the tables of these shards, one shard at a time."""
    outcome = Outcome({step.key: VideoCounts() for step in plan.measured_steps})
    by_status: dict[str, list[Example]] = {}
    name = plan.recipe.name
    for shard_key in shard_keys:
        for step in plan.measured_steps:
            _count(outcome.videos[step.key], store.read_stats(name, step.key, shard_key))
        undecided = [verdict for verdict in store.read_verdicts(name, shard_key) if verdict.outcome == "undecided"]
        wanted = {v.sample_id: v for v in undecided if len(by_status.get(v.status, ())) < MOST_EXAMPLES}
        if wanted:
            for sample in store.read_samples(name, shard_key):
                if sample.sample_id in wanted:
                    example = example_of(plan.steps, sample, wanted[sample.sample_id])
                    by_status.setdefault(example.status, []).append(example)
    outcome.examples = choose_examples(by_status.values())
    return outcome


def _count(counts: VideoCounts, rows: Sequence[Row]) -> None:
    places: dict[tuple[str, str, int], Row] = {(row.sample_id, row.field, row.position): row for row in rows}
    tally: Counter[str] = Counter(_origin(row) for row in places.values())
    counts.measured += tally["measured"]
    counts.reused += tally["reused"]
    counts.skipped += tally["skipped"]
    counts.unmeasured += tally["unmeasured"]


def _origin(row: Row) -> str:
    if row.reused:
        return "reused"
    if row.fact.status == "skipped":
        return "skipped"
    return "measured" if row.fact.status == "ok" else "unmeasured"


def example_of(steps: Collection[Step], sample: Sample, verdict: Verdict) -> Example:
    """Which video of an undecided sample stands for it: the first without a number at the undecided step; of a step on
    records the sample itself."""
    step = next((step for step in steps if step.key == verdict.step), None)
    subjects = () if step is None else step.subjects(sample)
    missing = [subject for subject, value in zip(subjects, verdict.values, strict=False) if value is None]
    return Example(verdict.status, missing[0].given if missing else sample.sample_id, verdict.reason)


def choose_examples(by_status: Iterable[Sequence[Example]], *, most: int = MOST_EXAMPLES) -> list[Example]:
    """At most so many: first one of each status, then a second of each, and so on; shown status by status."""
    ranked = [(rank, status, example) for status, group in enumerate(by_status) for rank, example in enumerate(group)]
    chosen = sorted(ranked, key=lambda item: item[:2])[:most]
    return [example for _, _, example in sorted(chosen, key=lambda item: (item[1], item[0]))]
