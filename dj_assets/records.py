"""Steps about samples themselves: records → facts. No worker, no file; done anew each time, for it costs nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dj_assets.errors import MediaError, Status
from dj_assets.plan import Step
from dj_assets.samples import STATS_FIELD, Sample, SampleItself
from dj_assets.store.rows import Fact, Row


@dataclass(frozen=True)
class Judged:
    """What a step finds in one record. values: one per stat; () where the status is not `ok`.

    bug: traceback, where the operator itself is at fault, so that nothing is known.
    """

    values: tuple[float, ...] = ()
    status: Status = "ok"
    reason: str = ""
    bug: str = ""


def judge(steps: Sequence[Step], record: Mapping[str, Any], *, reads_stats: bool = True) -> list[Judged]:
    """What each step finds in a record, in order. steps: all those on records of a plan, for one may read the stats of
    those before it. reads_stats: whether one does."""
    if not reads_stats:
        return [_judged(step, record) for step in steps]
    stats: dict[str, Any] = {}
    found = []
    for step in steps:
        seen = with_stats(record, stats)
        judged = _judged(step, seen)
        values = judged.values or (None,) * len(step.stat_names)
        stats |= zip(step.stat_names, exported(step, seen, values), strict=True)
        found.append(judged)
    return found


def _reads_stats(step: Step) -> bool:
    return any(name.split(".")[0] == STATS_FIELD for name in step.operator.fields(step.params))


def with_stats(record: Mapping[str, Any], stats: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with these under `__dj__stats__`, beside those that it came with, which they go before."""
    if not stats:
        return record
    earlier = record.get(STATS_FIELD)
    return {**record, STATS_FIELD: {**(earlier if isinstance(earlier, dict) else {}), **stats}}


def _judged(step: Step, record: Mapping[str, Any]) -> Judged:
    assert step.operator.judge is not None, "a step on records has one"
    try:
        values = tuple(map(float, step.operator.judge(record, step.params)))
    except MediaError as error:
        return Judged(status=error.status, reason=error.one_line())
    except Exception:  # the operator's own fault: told by whoever writes tables, and no row is made up
        return Judged(status="crashed", bug=traceback.format_exc())
    if len(values) != len(step.operator.stats):
        return Judged(status="crashed", bug=f"{len(values)} values, expected one for each of {step.operator.stats}")
    return Judged(values)


def exported(step: Step, record: Mapping[str, Any], values: Sequence[float | None]) -> list[Any]:
    """What stands under the names of a step's stats in `__dj__stats__` of its record: scalars, as upstream has them."""
    if step.operator.shown is not None:
        return [step.operator.shown(record, step.params)]
    return [stat.plain(value) for stat, value in zip(step.operator.stats, values, strict=True)]


def judged_samples(steps: Sequence[Step], samples: Sequence[Sample]) -> Iterator[tuple[SampleItself, list[Judged]]]:
    """Each sample as a subject, with what each step finds; of one that is malformed nothing, for its own reason."""
    reads_stats = any(map(_reads_stats, steps))
    for sample in samples:
        itself = sample.itself
        if itself.status != "ok":
            yield itself, [Judged(status=itself.status, reason=itself.reason) for _ in steps]
        else:
            yield itself, judge(steps, sample.record, reads_stats=reads_stats)


def rows_of(step: Step, itself: SampleItself, judged: Judged, *, measured_at: str = "") -> Iterator[Row]:
    """The rows of one sample under one step: one per stat."""
    values: Sequence[float | None] = judged.values or (None,) * len(step.operator.stats)
    content_hash = itself.content_hash
    for stat, value in zip(step.operator.stats, values, strict=True):
        fact = Fact(
            content_hash=content_hash,
            operator=step.operator.name,
            measure_id=step.measure_id,
            stat=stat.name,
            value=value,
            status=judged.status,
            reason=judged.reason,
            device=step.device,
            measured_at=measured_at,
        )
        yield Row(itself.given, itself.field, itself.position, itself.path, fact)


def tables_of(steps: Sequence[Step], samples: Sequence[Sample], *, measured_at: str = "") -> dict[str, list[Row]]:
    """The tables of steps on records, by step key: one row per sample and stat. Raises `OperatorFault` where an
    operator is at fault. steps: all those of the plan."""
    tables: dict[str, list[Row]] = {step.key: [] for step in steps}
    for itself, judged in judged_samples(steps, samples):
        for step, one in zip(steps, judged, strict=True):
            if one.bug:
                raise OperatorFault(f"{step.key}: {itself.given}: {one.bug}")
            tables[step.key].extend(rows_of(step, itself, one, measured_at=measured_at))
    return tables


class OperatorFault(RuntimeError):
    """An operator's own code failed: not a property of the video or record, so no row is written."""
