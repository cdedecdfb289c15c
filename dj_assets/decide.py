"""Rows + bounds → verdicts, with reasons. No video, no file, no clock: tables in, verdicts out.

Three answers, in Kleene's logic: a step's subject (a video, or the sample itself) passes, fails, or is unknown.

    per subject  all ranges of the step:  fails if one fails, else unknown if one is, else passes
    per step     any / all of its videos: unknown where the unknown videos could turn the answer; none: passes
    per sample   all steps:               dropped by the first that fails, else undecided, else kept

A failing step drops a sample even when an earlier step is unknown, so that the kept set depends neither on
the order of steps nor on which of them were skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample, Subject
from dj_assets.store.rows import Fact, Row, Verdict

Key = tuple[str, str, int, str]
"""(sample id, manifest field, position in it, stat): what a row is about."""

Facts = Mapping[Key, Fact]


def decide(plan: Plan, samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]]) -> list[Verdict]:
    """One verdict per sample, in order. tables: rows by step key, complete for these samples; none of a step that
    measures nothing. Steps over the whole dataset drop nobody here: see `settle`.

    Raises ValueError where a table or a row is missing: that is a fault of the caller, never a kept sample.
    """
    facts = {}
    for step in plan.steps:
        if step.operator.stats and step.key not in tables:
            raise ValueError(f"{step.key}: no table, expected one per step of {plan.recipe.name}")
        facts[step.key] = facts_by_key(tables.get(step.key, ()))
    return [_verdict(plan.steps, sample, facts) for sample in samples]


def still_in(steps: Sequence[Step], samples: Sequence[Sample], tables: Mapping[str, Sequence[Row]]) -> set[str]:
    """Ids of the samples that no step has definitely dropped. Steps without a table are ignored."""
    facts = {step.key: facts_by_key(tables[step.key]) for step in steps if step.key in tables}
    decided = [step for step in steps if step.key in facts]
    return {
        sample.sample_id
        for sample in samples
        if not any(step_passes(step, sample, facts[step.key]) is False for step in decided)
    }


@dataclass(frozen=True)
class RowCheck:
    """Where a stats table differs from its subjects, in lines like `ds.jsonl:7 videos[0] video_duration`.

    missing: subjects without a row. extra: rows without a subject. repeated: what several rows are about.
    """

    expected: int
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Rows out = subjects in."""
        return not (self.missing or self.extra or self.repeated)


def check_rows(step: Step, samples: Iterable[Sample], rows: Iterable[Row]) -> RowCheck:
    """Compare a step's table with the subjects that it must cover, in any order."""
    expected = {
        _key(sample, subject, stat.name)
        for sample in samples
        for subject in step.subjects(sample)
        for stat in step.operator.stats
    }
    found = Counter(_row_key(row) for row in rows)
    return RowCheck(
        expected=len(expected),
        missing=tuple(_show(key) for key in sorted(expected - found.keys())),
        extra=tuple(_show(key) for key in sorted(found.keys() - expected)),
        repeated=tuple(_show(key) for key, count in sorted(found.items()) if count > 1),
    )


@dataclass(frozen=True)
class Summary:
    """Counts of verdicts. dropped: by step key, every step of the plan. undecided: by status, those met."""

    samples: int
    kept: int
    dropped: dict[str, int]
    undecided: dict[str, int]


def summarize(plan: Plan, verdicts: Iterable[Verdict]) -> Summary:
    """Count verdicts by outcome, step and status. samples = kept + all dropped + all undecided."""
    kept = 0
    dropped = {step.key: 0 for step in plan.steps}
    undecided: Counter[str] = Counter()
    for verdict in verdicts:
        if verdict.outcome == "kept":
            kept += 1
        elif verdict.outcome == "dropped":
            dropped[verdict.step] += 1
        else:
            undecided[verdict.status] += 1
    return Summary(kept + sum(dropped.values()) + undecided.total(), kept, dropped, dict(sorted(undecided.items())))


def facts_by_key(rows: Iterable[Row]) -> dict[Key, Fact]:
    """Facts of one table, by what they are about. Raises ValueError where two rows are about the same."""
    facts: dict[Key, Fact] = {}
    for row in rows:
        key = _row_key(row)
        if key in facts:
            raise ValueError(f"two rows for {_show(key)}, expected one")
        facts[key] = row.fact
    return facts


def step_passes(step: Step, sample: Sample, facts: Facts) -> bool | None:
    """Whether a sample passes one step; None where that hangs on what could not be measured.

    A sample without videos in the step's field passes, as upstream. Raises ValueError on a missing row.
    """
    answers = {_subject_passes(step, sample, subject, facts) for subject in step.subjects(sample)}
    if not answers:
        return True
    decisive = step.any_or_all == "any"
    if decisive in answers:
        return decisive
    return None if None in answers else not decisive


def _subject_passes(step: Step, sample: Sample, subject: Subject, facts: Facts) -> bool | None:
    answers = {_range_passes(range_, sample, subject, facts) for range_ in step.ranges}
    return False if False in answers else None if None in answers else True


def _range_passes(range_: StatRange, sample: Sample, subject: Subject, facts: Facts) -> bool | None:
    value = _value(_fact(facts, sample, subject, range_.stat))
    return None if value is None else range_.passes(value)


def _value(fact: Fact) -> float | None:
    if fact.status == "ok" and fact.value is None:
        raise ValueError(f"{fact.operator} {fact.stat}: status ok without a value, expected one of the two")
    return fact.value if fact.status == "ok" else None


def _fact(facts: Facts, sample: Sample, subject: Subject, stat: str) -> Fact:
    key = _key(sample, subject, stat)
    if key not in facts:
        raise ValueError(f"no row for {_show(key)}, expected one per subject and stat")
    return facts[key]


def _verdict(steps: Sequence[Step], sample: Sample, facts: Mapping[str, Facts]) -> Verdict:
    if sample.status != "ok":
        # Of the dataset: a malformed line. In a later stage: the mapper that made nothing is the step that left it.
        return Verdict(sample.sample_id, "undecided", step=sample.made_by, status=sample.status, reason=sample.reason)
    undecided: Step | None = None
    for step in steps:
        passes = step_passes(step, sample, facts[step.key])
        if passes is False:
            return _dropped(step, sample, facts[step.key])
        if passes is None and undecided is None:
            undecided = step
    if undecided is not None:
        return _undecided(undecided, sample, facts[undecided.key])
    return Verdict(sample.sample_id, "kept")


def _dropped(step: Step, sample: Sample, facts: Facts) -> Verdict:
    range_ = next(
        range_
        for range_ in step.ranges
        if any(_range_passes(range_, sample, subject, facts) is False for subject in step.subjects(sample))
    )
    return Verdict(
        sample.sample_id,
        "dropped",
        step=step.key,
        operator=step.operator.name,
        stat=range_.stat,
        values=_values(step, sample, facts, range_.stat),
        bound=str(range_),
    )


def _undecided(step: Step, sample: Sample, facts: Facts) -> Verdict:
    range_, fact = next(
        (range_, fact)
        for subject in step.subjects(sample)
        if _subject_passes(step, sample, subject, facts) is None
        for range_ in step.ranges
        if (fact := _fact(facts, sample, subject, range_.stat)).status != "ok"
    )
    reason = fact.reason
    if fact.status == "skipped":
        # The bounds that had dropped the sample have moved since: its numbers are wanted now.
        reason = f"not measured while an earlier step dropped the sample: materialize stats/{step.key} again"
    return Verdict(
        sample.sample_id,
        "undecided",
        step=step.key,
        operator=step.operator.name,
        stat=range_.stat,
        values=_values(step, sample, facts, range_.stat),
        bound=str(range_),
        status=fact.status,
        reason=reason,
    )


def _values(step: Step, sample: Sample, facts: Facts, stat: str) -> tuple[float | None, ...]:
    return tuple(_value(_fact(facts, sample, subject, stat)) for subject in step.subjects(sample))


def _key(sample: Sample, subject: Subject, stat: str) -> Key:
    return sample.sample_id, subject.field, subject.position, stat


def _row_key(row: Row) -> Key:
    return row.sample_id, row.field, row.position, row.fact.stat


def _show(key: Key) -> str:
    sample_id, field, position, stat = key
    return " ".join([sample_id, *([f"{field}[{position}]"] if field else []), stat])
