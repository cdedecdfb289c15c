"""Recipes whose steps have bounds to move, and stores that hold stated numbers for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Literal

from dj_assets.columns import columns_of
from dj_assets.operators._contract import Bound
from dj_assets.plan import Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample
from dj_assets.store.store import Store
from dj_assets.studio.session import Session
from dj_assets_tests.plans import Value, a_fact, a_plan, a_sample, a_step
from dj_assets_tests.store.nouns import PROVENANCE


def a_bounded_step(
    stat: str,
    low: float = -inf,
    high: float = inf,
    *,
    number: int = 1,
    any_or_all: Literal["any", "all"] = "any",
    is_reversed: bool = False,
) -> Step:
    """Step `<stat>_filter` with bounds `min_<stat>` and `max_<stat>`."""
    step = a_step(
        f"{stat}_filter", StatRange(stat, low, high, is_reversed=is_reversed), any_or_all=any_or_all, number=number
    )
    bounds = (Bound(f"min_{stat}", stat, "min", -inf), Bound(f"max_{stat}", stat, "max", inf))
    return replace(step, operator=replace(step.operator, bounds=bounds))


def samples_of(videos: Sequence[int]) -> list[Sample]:
    """Sample n has `videos[n - 1]` videos, each with a content of its own (`<n>-<position>`)."""
    made = []
    for number, count in enumerate(videos, start=1):
        sample = a_sample(number, *(f"{number}-{at}.mp4" for at in range(count)))
        hashed = tuple(replace(video, content_hash=f"{number}-{video.position}") for video in sample.videos)
        made.append(replace(sample, videos=hashed))
    return made


def a_session(
    folder: Path, steps: Sequence[Step], samples: Sequence[Sample], numbers: Mapping[str, Sequence[Value]]
) -> Session:
    """A session over these samples. numbers: stat → a value per video, in order; `skipped` is not measured."""
    plan, store = a_plan(*steps), Store(folder)
    store_numbers(plan, store, samples, numbers)
    store.write_samples("r", "ds-00000", samples, PROVENANCE)
    return Session(plan, columns_of(plan, store, {"ds-00000": samples}), store)


def store_numbers(plan: Plan, store: Store, samples: Sequence[Sample], numbers: Mapping[str, Sequence[Value]]) -> None:
    hashes = [video.content_hash for sample in samples for video in sample.videos]
    for step in plan.steps:
        for stat in step.operator.stats:
            store.append_facts(
                [
                    replace(a_fact(step, stat.name, value), content_hash=content_hash)
                    for content_hash, value in zip(hashes, numbers[stat.name], strict=True)
                    if value != "skipped"
                ],
                PROVENANCE,
            )
