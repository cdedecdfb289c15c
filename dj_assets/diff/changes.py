"""What differs between two plans, in words: which steps are the same, and what was changed about the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dj_assets.measure import info_of
from dj_assets.operators._contract import MAX_FLOAT, MAX_INT
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange

Kind = Literal["step added", "step removed", "step moved", "measure", "bounds", "verdict option", "setting"]

Pair = tuple[Step | None, Step | None]
"""A step of the old plan and what became of it in the new one; None where it was added or removed."""

MOVING_SETTINGS = ("dataset_path", "suffixes", "video_key", "dj_assets.on_undecided", "dj_assets.roots")
MOVING_PREFIXES = ("dj_assets.limits.",)
"""Keys of a recipe that may move what is exported; the others move no verdict."""


@dataclass(frozen=True)
class Change:
    """One difference. what: a step key, or a key of the recipe. option, old, new: as a recipe would have them.

    measures_anew: whether numbers of the old recipe are none of the new one. moves_verdicts: whether it may move what
    is exported at all.
    """

    kind: Kind
    what: str
    option: str = ""
    old: str = ""
    new: str = ""
    measures_anew: bool = False
    moves_verdicts: bool = True

    def __str__(self) -> str:
        """`video_motion_score_filter: min_score: 2 → 3`."""
        name = f"{self.what}: {self.option}" if self.option else self.what
        if self.kind == "step added":
            return f"{name} added: {self.new}"
        if self.kind == "step removed":
            return f"{name} removed: {self.old}"
        moved = "moved: " if self.kind == "step moved" else ""
        return f"{name}: {moved}{self.old} → {self.new}" + (", another measure" if self.measures_anew else "")


def same_question(step: Step) -> Hashable:
    """Equal for two steps that give every sample the same answer, whatever they are called."""
    ranges = [(r.stat, r.low, r.high, r.low_closed, r.high_closed, r.is_reversed) for r in step.ranges]
    return step.measure_id, step.video_key, step.any_or_all, tuple(ranges)


def pair_steps(old: Plan, new: Plan) -> list[Pair]:
    """What became of each step: pairs that ask the same first, then the same measure, then the same operator; each
    step once. In the order of the new plan, removed steps last."""
    likeness: tuple[Callable[[Step], Hashable], ...] = (
        same_question,
        lambda step: (step.measure_id, step.video_key),
        lambda step: (step.operator.name, step.video_key),
        lambda step: step.operator.name,
    )
    partner: dict[int, int] = {}
    for like in likeness:
        for at, step in enumerate(new.steps):
            free = [n for n, other in enumerate(old.steps) if n not in partner.values() and like(other) == like(step)]
            if at not in partner and free:
                partner[at] = free[0]
    pairs: list[Pair] = [(old.steps[partner[at]] if at in partner else None, step) for at, step in enumerate(new.steps)]
    return [*pairs, *((step, None) for n, step in enumerate(old.steps) if n not in partner.values())]


def changes(old: Plan, new: Plan) -> tuple[Change, ...]:
    """Everything that differs, steps first. Empty where the recipes mean the same."""
    pairs = pair_steps(old, new)
    found: list[Change] = []
    moved = _moved(old, pairs)
    for before, after in pairs:
        if before is None and after is not None:
            found.append(Change("step added", after.key, new=_keeps(after)))
        elif after is None and before is not None:
            found.append(Change("step removed", before.key, old=_keeps(before)))
        elif before is not None and after is not None:
            if after.key in moved:
                was, now = f"step {before.number}", f"step {after.number}"
                found.append(Change("step moved", after.key, old=was, new=now, moves_verdicts=False))
            found.extend(_of_step(before, after))
    return (*found, *_of_settings(old, new))


def _keeps(step: Step) -> str:
    return f"keeps {step.keeps}" + ("" if step.is_about_samples else f" in {step.any_or_all} of the videos")


def _moved(old: Plan, pairs: Sequence[Pair]) -> set[str]:
    """Keys of the new plan's steps that stand elsewhere: the fewest that explain the new order."""
    both = [(before, after) for before, after in pairs if before is not None and after is not None]
    places = [old.steps.index(before) for before, _ in both]
    stayed: list[list[int]] = []  # the longest run of growing places that ends at each
    for at, place in enumerate(places):
        best = max((run for run in stayed if places[run[-1]] < place), key=len, default=[])
        stayed.append([*best, at])
    longest = max(stayed, key=len, default=[])
    return {after.key for at, (_, after) in enumerate(both) if at not in longest}


def _of_step(old: Step, new: Step) -> Iterator[Change]:
    if old.measure_id != new.measure_id:
        for option, before, after in _differences(old, new):
            yield Change("measure", new.key, option, before, after, measures_anew=True)
    if old.video_key != new.video_key:
        yield Change("measure", new.key, "video_key", old.video_key, new.video_key)
    yield from _of_bounds(old, new)
    if old.any_or_all != new.any_or_all:
        yield Change("verdict option", new.key, "any_or_all", old.any_or_all, new.any_or_all)
    intervals = (
        ("min_closed_interval", lambda r: r.low_closed),
        ("max_closed_interval", lambda r: r.high_closed),
        ("reversed_range", lambda r: r.is_reversed),
    )
    for option, read in intervals:
        flags = [(read(a), read(b)) for a, b in zip(old.ranges, new.ranges, strict=False)]
        for before, after in [(a, b) for a, b in flags if a != b][:1]:
            yield Change("verdict option", new.key, option, _as_yaml(before), _as_yaml(after))


def _differences(old: Step, new: Step) -> Iterator[tuple[str, str, str]]:
    """(param, old, new) of two measures of one operator."""
    mine, other = info_of(new), info_of(old)
    if mine.version != other.version:
        yield "version", str(other.version), str(mine.version)
    unwritten = new.operator.params.added
    for name in dict.fromkeys([*other.params, *mine.params]):
        before, after = (params.get(name, unwritten.get(name)) for params in (other.params, mine.params))
        if before != after:
            yield name, _as_yaml(before), _as_yaml(after)
    if mine.device != other.device:
        yield "device", other.device, mine.device


def _of_bounds(old: Step, new: Step) -> Iterator[Change]:
    options: dict[tuple[str, str], str] = {(bound.stat, bound.side): bound.option for bound in new.operator.bounds}
    before = {range_.stat: range_ for range_ in old.ranges}
    for range_ in new.ranges:
        was = before.get(range_.stat)
        if was is None:
            yield Change("bounds", new.key, range_.stat, "none", range_.in_words or "everything")
            continue
        for side, a, b in (("min", was.low, range_.low), ("max", was.high, range_.high)):
            if a != b:
                option = options.get((range_.stat, side), f"{side} of {range_.stat}")
                yield Change("bounds", new.key, option, shown_limit(a), shown_limit(b))


def shown_limit(limit: float) -> str:
    """A bound as people write it; `none` for what bounds nothing."""
    return f"{limit:.10g}" if is_limit(limit) else "none"


def is_limit(limit: float) -> bool:
    """Whether a bound bounds anything: not infinite, and none of Data-Juicer's largest numbers."""
    return abs(limit) < MAX_INT and abs(limit) != MAX_FLOAT


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _of_settings(old: Plan, new: Plan) -> Iterator[Change]:
    before, after = old.recipe.resolved, new.recipe.resolved
    for name in dict.fromkeys([*before, *after]):
        a, b = before.get(name), after.get(name)
        if a != b and not name.startswith("process."):
            moves = name in MOVING_SETTINGS or name.startswith(MOVING_PREFIXES)
            yield Change("setting", name, "", _as_yaml(a), _as_yaml(b), moves_verdicts=moves)


def margin(range_: StatRange, value: float) -> float | None:
    """Distance to the nearest limit, in the stat's unit; negative where the value fails, None without a limit."""
    inside = [value - range_.low] if is_limit(range_.low) and range_.low_is_set else []
    inside += [range_.high - value] if is_limit(range_.high) and range_.high_is_set else []
    if not inside:
        return None
    return max(-distance for distance in inside) if range_.is_reversed else min(inside)
