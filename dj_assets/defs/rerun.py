"""Measure again what could not be measured, or what is not believed any more, and tell which verdicts changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from dj_assets.defs.assets import RecipeGraph
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.defs.progress import Listener
from dj_assets.defs.retries import Wish, places_to_retry
from dj_assets.errors import Status, StoreError
from dj_assets.plan import MapperStep, Plan, Step
from dj_assets.store.rows import Verdict
from dj_assets.store.store import Store

MOST_CHANGES = 1000
"""Changes of verdicts that a report names one by one; all of them are counted."""


@dataclass(frozen=True)
class Unmeasured:
    """What one recipe's tables lack for certain reasons.

    shards: key → videos that lack a number of any step. by_step: (step key, status) → (video, step) pairs.
    outdated: shards that cannot be asked, since a table is not there or answers another question, and why.
    """

    shards: dict[str, int] = field(default_factory=dict)
    by_step: dict[tuple[str, str], int] = field(default_factory=dict)
    outdated: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VerdictChange:
    """A sample whose verdict is another one now. before: None where it had none."""

    shard: str
    sample_id: str
    before: Verdict | None
    after: Verdict


@dataclass(frozen=True)
class RerunReport:
    """What measuring again did.

    run: per shard. samples: whose verdicts were compared. num_changes: how many of them changed in outcome, step or
    status. changes: the first of these. transitions: (`before`, `after`) in words → samples.
    moved_bounds: shards whose earlier verdicts were made under other bounds, so that these may be the reason.
    """

    run: RunReport
    samples: int
    num_changes: int
    changes: tuple[VerdictChange, ...]
    transitions: dict[tuple[str, str], int]
    moved_bounds: tuple[str, ...]


def find_unmeasured(plan: Plan, store: Store, shard_keys: Sequence[str], statuses: Collection[Status]) -> Unmeasured:
    """Which videos of these shards have no number, or no products, for one of these reasons. Reads tables, opens no
    video."""
    found = Unmeasured()
    for stage in plan.stages:
        _find_unmeasured(stage, store, shard_keys, statuses, found)
    return found


def _find_unmeasured(
    plan: Plan, store: Store, shard_keys: Sequence[str], statuses: Collection[Status], found: Unmeasured
) -> None:
    """Add what one stage lacks."""
    for shard_key in shard_keys:
        if shard_key in found.outdated:
            continue
        if plan.made_by is not None and (lost := _not_made(plan, store, shard_key, statuses)):
            for status, count in Counter(lost).items():
                found.by_step[plan.made_by.key, status] = count + found.by_step.get((plan.made_by.key, status), 0)
            found.shards[shard_key] = found.shards.get(shard_key, 0) + len(lost)
        tables = {}
        for step in plan.measured_steps:
            reason = _why_not_current(plan, step, store, shard_key)
            if reason:
                found.outdated[shard_key] = reason
                break
            tables[step.key] = store.read_stats(plan.recipe.name, step.key, shard_key)
        else:
            for key, rows in tables.items():
                by_place = {(row.sample_id, row.field, row.position): row.fact.status for row in rows}
                for status, count in Counter(by_place.values()).items():
                    if status in statuses:
                        found.by_step[key, status] = found.by_step.get((key, status), 0) + count
            if places := places_to_retry(tables.values(), statuses):
                found.shards[shard_key] = found.shards.get(shard_key, 0) + len(places)


def _not_made(plan: Plan, store: Store, shard_key: str, statuses: Collection[Status]) -> list[Status]:
    """The statuses of samples of which the mapper before a stage could make nothing, of those asked for."""
    if store.samples_provenance(plan.recipe.name, shard_key) is None:
        return []
    samples = store.read_samples(plan.recipe.name, shard_key)
    return [sample.status for sample in samples if sample.status in statuses]


def _why_not_current(plan: Plan, step: Step, store: Store, shard_key: str) -> str:
    provenance = store.stats_provenance(plan.recipe.name, step.key, shard_key)
    if provenance is None:
        return f"{step.key} was never measured"
    if provenance.code_version != step.measure_id:
        return f"{step.key} was measured as {provenance.code_version}, and would be {step.measure_id} now"
    return ""


def rerun_statuses(
    plan: Plan,
    *,
    statuses: Collection[Status],
    shard_keys: Sequence[str],
    instance: dg.DagsterInstance,
    store_root: Path,
    on_progress: Listener | None = None,
    on_shard: Callable[[str], None] | None = None,
    verbose: bool = False,
) -> RerunReport:
    """Measure the videos of these shards again that have no number for one of these reasons, and no other video.

    Their files are looked at anew, so that a file that was mended or brought back counts. Then verdicts and export
    follow. shard_keys: as `find_unmeasured` gives them.
    """
    return _rerun(
        plan,
        Wish(statuses=frozenset(statuses)),
        selection=None,
        shard_keys=shard_keys,
        instance=instance,
        store_root=store_root,
        on_progress=on_progress,
        on_shard=on_shard,
        verbose=verbose,
    )


def rerun_measures(
    plan: Plan,
    *,
    measures: Mapping[str, Collection[str]],
    of_run: str = "",
    shard_keys: Sequence[str],
    instance: dg.DagsterInstance,
    store_root: Path,
    on_progress: Listener | None = None,
    on_shard: Callable[[str], None] | None = None,
    verbose: bool = False,
) -> RerunReport:
    """Compute some operators' numbers anew for the videos of these shards; then verdicts and export follow.

    measures: operator → ids of its measures that are not believed any more; of_run: as far
    as this run made them. Where the recipe still asks for one of
    them, its numbers in the store are passed over; where the operator's version was raised since, it is another
    measure already, and what the store has of that one is good. Of later passes only what was skipped, and is wanted
    now, is measured. Raises `StoreError` where the recipe has none of these operators.
    """
    steps = [step for step in plan.all_steps if step.operator_name in measures]
    if not steps:
        raise StoreError(
            f"recipe {plan.recipe.name} has no step {' or '.join(sorted(measures))} any more",
            allowed=", ".join(step.operator_name for step in plan.all_steps) or "none: the recipe has no steps",
            try_="bring the step back, or leave the export as it is: its numbers rest on a recipe that is gone",
        )
    distrusted = {step.measure_id for step in steps if step.measure_id in measures[step.operator_name]}
    return _rerun(
        plan,
        Wish(statuses=frozenset({"skipped"}), measures=frozenset(distrusted), of_run=of_run),
        selection=_downstream(plan, steps),
        shard_keys=shard_keys,
        instance=instance,
        store_root=store_root,
        on_progress=on_progress,
        on_shard=on_shard,
        verbose=verbose,
    )


def _keys(stage: Plan) -> set[str]:
    """Of a stage's filters, and of the mapper that makes its samples."""
    return {*(step.key for step in stage.steps), *([stage.made_by.key] if stage.made_by else [])}


def _downstream(plan: Plan, steps: Sequence[Step | MapperStep]) -> list[dg.AssetKey]:
    """These steps' tables, those of the passes after them, which may have spared samples that are wanted now, and
    what is made of them, later stages whole."""
    keys = {step.key for step in steps}
    first = next(n for n, stage in enumerate(plan.stages) if keys & _keys(stage))
    stage, later = plan.stages[first], plan.stages[first + 1 :]
    rest = [key for one in later for key in RecipeGraph(one).own_keys]
    graph = RecipeGraph(stage)
    if stage.made_by is not None and stage.made_by.key in keys:
        return [*graph.own_keys, *rest]
    own = [step for step in stage.steps if step.key in keys]
    chosen = [graph.stats(step) for step in own]
    for pass_ in stage.passes:
        if {step.key for step in graph.earlier_steps(pass_)} & {step.key for step in own}:
            chosen += [graph.stats(step) for step in pass_.steps]
    stats = {graph.stats(step) for step in stage.measured_steps}
    after = (key for key in graph.own_keys if key not in stats and key != graph.samples)
    return list(dict.fromkeys([*chosen, *after, *rest]))


def _rerun(
    plan: Plan,
    wish: Wish,
    *,
    selection: Sequence[dg.AssetKey] | None,
    shard_keys: Sequence[str],
    instance: dg.DagsterInstance,
    store_root: Path,
    on_progress: Listener | None,
    on_shard: Callable[[str], None] | None,
    verbose: bool,
) -> RerunReport:
    comparison = _Comparison(plan, Store(store_root), on_shard)
    run = run_recipe(
        plan,
        instance=instance,
        store_root=store_root,
        shard_keys=shard_keys,
        selection=selection,
        on_progress=on_progress,
        on_shard=comparison.begin_shard,
        verbose=verbose,
        wish=wish,
    )
    comparison.end_shard()
    return RerunReport(
        run=run,
        samples=comparison.samples,
        num_changes=sum(comparison.transitions.values()),
        changes=tuple(comparison.changes),
        transitions=dict(comparison.transitions),
        moved_bounds=tuple(comparison.moved_bounds),
    )


class _Comparison:
    """Holds the verdicts of one shard while its run replaces them."""

    def __init__(self, plan: Plan, store: Store, on_shard: Callable[[str], None] | None) -> None:
        self.plan = plan
        self.store = store
        self.samples = 0
        self.changes: list[VerdictChange] = []
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.moved_bounds: list[str] = []
        self._on_shard = on_shard
        self._shard = ""
        self._before: Mapping[str, Verdict] = {}

    def begin_shard(self, shard_key: str) -> None:
        self.end_shard()
        provenance = self.store.verdicts_provenance(self.plan.recipe.name, shard_key)
        self._shard = shard_key
        self._before = {} if provenance is None else {v.sample_id: v for v in self._verdicts(shard_key)}
        if provenance is not None and provenance.code_version != self.plan.bounds_id:
            self.moved_bounds.append(shard_key)
        if self._on_shard is not None:
            self._on_shard(shard_key)

    def end_shard(self) -> None:
        """Compare what the shard had with what it has. Without effect where none has begun."""
        if not self._shard or self.store.verdicts_provenance(self.plan.recipe.name, self._shard) is None:
            return
        for after in self._verdicts(self._shard):
            before = self._before.get(after.sample_id)
            self.samples += 1
            if before is None or _what(before) != _what(after):
                self.transitions[verdict_text(before), verdict_text(after)] += 1
                if len(self.changes) < MOST_CHANGES:
                    self.changes.append(VerdictChange(self._shard, after.sample_id, before, after))
        self._shard = ""

    def _verdicts(self, shard_key: str) -> Iterator[Verdict]:
        yield from self.store.read_verdicts(self.plan.recipe.name, shard_key)


def _what(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.outcome, verdict.step, verdict.status


def verdict_text(verdict: Verdict | None) -> str:
    """A verdict in few words: `kept`, `dropped by video_duration_filter`, `undecided: crashed`."""
    if verdict is None:
        return "none"
    if verdict.outcome == "dropped":
        return f"dropped by {verdict.step}"
    return "kept" if verdict.outcome == "kept" else f"undecided: {verdict.status}"
