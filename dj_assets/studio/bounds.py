"""What a page may set: the bounds of each step and which samples to look at, checked at the border."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dj_assets.errors import DjAssetsError
from dj_assets.operators._contract import MAX_INT, Bound
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange

NO_LIMIT = MAX_INT
"""Operators spell "no limit" as the largest number there is, whole or float; on the page it is an empty field."""


class StepBounds(BaseModel):
    """How one step judges. bounds: option → number, None for no limit; every bound of the operator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bounds: dict[str, float | None] = Field(description="option → number, or null for no limit")
    any_or_all: Literal["any", "all"]
    min_closed_interval: bool = True
    max_closed_interval: bool = True

    @field_validator("bounds")
    @classmethod
    def _finite(cls, bounds: dict[str, float | None]) -> dict[str, float | None]:
        if any(value is not None and not math.isfinite(value) for value in bounds.values()):
            raise ValueError("expected finite numbers, or null for no limit")
        return bounds

    @property
    def key(self) -> tuple[object, ...]:
        """For caches."""
        ends = self.min_closed_interval, self.max_closed_interval
        return (*sorted(self.bounds.items()), self.any_or_all, *ends)


class FieldFilter(BaseModel):
    """Samples by one field of their record. value: what is compared with; text for `contains` and `equals`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    test: Literal["equals", "contains", "at_least", "at_most", "is_missing"]
    value: str = ""

    def matcher(self) -> Callable[[str | None], bool]:
        """Whether the JSON text of a field meets a filter. Texts are compared as text, without their quotes."""
        if self.test == "is_missing":
            return lambda text: text is None or text == "null"
        if self.test in ("equals", "contains"):
            value = self.value
            if self.test == "equals":
                return lambda text: text is not None and _plain(text) == value
            return lambda text: text is not None and value.casefold() in _plain(text).casefold()
        try:
            limit = float(self.value)
        except ValueError:
            raise DjAssetsError(
                f"{self.value!r} is no number", allowed="a number, to compare a field with", try_="choose `contains`"
            ) from None
        above = self.test == "at_least"

        def compare(text: str | None) -> bool:
            try:
                number = float(_plain(text or ""))
            except ValueError:
                return False
            return number >= limit if above else number <= limit

        return compare


def _plain(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


class Filter(BaseModel):
    """Which samples to look at. shards: empty for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: tuple[str, ...] = ()
    field: FieldFilter | None = None


class State(BaseModel):
    """All that the page has set. steps: by step key, every step of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: dict[str, StepBounds]
    filter: Filter = Filter()


@dataclass(frozen=True)
class End:
    """One draggable end of one stat's range: the bound of a step's operator that sets it."""

    step: Step
    bound: Bound

    @property
    def range(self) -> StatRange:
        """The range of the step that this bound is an end of."""
        return next(range_ for range_ in self.step.ranges if range_.stat == self.bound.stat)


def bounds_of(step: Step) -> StepBounds:
    """A step's bounds as its recipe has them."""
    by_stat = {range_.stat: range_ for range_ in step.ranges}
    values = {
        bound.option: _limit(by_stat[bound.stat].low if bound.side == "min" else by_stat[bound.stat].high)
        for bound in step.operator.bounds
    }
    first = step.ranges[0] if step.ranges else None
    return StepBounds(
        bounds=values,
        any_or_all=step.any_or_all,
        min_closed_interval=first.low_closed if first else True,
        max_closed_interval=first.high_closed if first else True,
    )


def _limit(value: float) -> float | None:
    return value if abs(value) < NO_LIMIT else None


def state_of(plan: Plan) -> State:
    """A recipe's own bounds, all samples looked at."""
    return State(steps={step.key: bounds_of(step) for step in plan.steps})


def check_state(plan: Plan, state: State) -> None:
    """Raises `DjAssetsError` where a state is not about this recipe."""
    for step in plan.steps:
        given = state.steps.get(step.key)
        expected = {bound.option for bound in step.operator.bounds}
        if given is None or set(given.bounds) != expected:
            raise DjAssetsError(
                f"{step.key}: {sorted(given.bounds) if given else 'nothing'} is set",
                allowed=f"each of {sorted(expected)}, null for no limit",
                try_="reload the page; the recipe may have changed",
            )
    if unknown := set(state.steps) - {step.key for step in plan.steps}:
        raise DjAssetsError(
            f"{', '.join(sorted(unknown))}: no such step",
            allowed=", ".join(step.key for step in plan.steps),
            try_="reload the page; the recipe may have changed",
        )


def ranges_under(step: Step, bounds: StepBounds) -> tuple[StatRange, ...]:
    """The step's ranges with these bounds; those of stats that have none, yes or no say, as they are."""
    by_stat: dict[tuple[str, str], float | None] = {
        (bound.stat, bound.side): bounds.bounds[bound.option] for bound in step.operator.bounds
    }
    found = []
    for range_ in step.ranges:
        if not {(range_.stat, "min"), (range_.stat, "max")} & by_stat.keys():
            found.append(range_)
            continue
        low, high = by_stat.get((range_.stat, "min")), by_stat.get((range_.stat, "max"))
        found.append(
            replace(
                range_,
                low=-math.inf if low is None else low,
                high=math.inf if high is None else high,
                low_closed=bounds.min_closed_interval,
                high_closed=bounds.max_closed_interval,
                low_is_set=low is not None,
                high_is_set=high is not None,
            )
        )
    return tuple(found)


def changed_options(step: Step, before: StepBounds, after: StepBounds) -> Mapping[str, float | bool | str | None]:
    """Options of a step whose value differs, with the new one."""
    changes: dict[str, float | bool | str | None] = {
        option: value for option, value in after.bounds.items() if value != before.bounds.get(option)
    }
    for name in ("any_or_all", "min_closed_interval", "max_closed_interval"):
        if getattr(before, name) != getattr(after, name):
            changes[name] = getattr(after, name)
    return changes
