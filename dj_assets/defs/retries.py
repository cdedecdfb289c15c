"""Runs that ask again: their tags say for what, and the assets of such a run measure that and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dj_assets.errors import STATUSES, Status
from dj_assets.plan import Step
from dj_assets.samples import Sample
from dj_assets.store.rows import Fact, Row

if TYPE_CHECKING:
    from dj_assets.measure import Retry

STATUSES_TAG = "dj_assets/retry_statuses"
MEASURES_TAG = "dj_assets/remeasure"
OF_RUN_TAG = "dj_assets/remeasure_of_run"

ContentsOfRun = Callable[[str, str, str], Collection[str]]
"""`Store.contents_of_run`: (operator, measure id, run id) -> content hashes."""

Place = tuple[str, str, int]
"""(sample id, field, position): one video of one sample."""


@dataclass(frozen=True)
class Wish:
    """What a run asks for again. statuses: videos whose row says so. measures: ids of which every number is distrusted;
    of_run: or only those numbers that this run measured. Nothing of all that: a run like any other.
    """

    statuses: frozenset[Status] = frozenset()
    measures: frozenset[str] = frozenset()
    of_run: str = ""

    def __bool__(self) -> bool:
        return bool(self.statuses or self.measures)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a run that is to do this; it can be launched from the UI as well."""
        found = {
            STATUSES_TAG: ",".join(sorted(self.statuses)),
            MEASURES_TAG: ",".join(sorted(self.measures)),
            OF_RUN_TAG: self.of_run,
        }
        return {name: text for name, text in found.items() if text}


def wish_of(tags: Mapping[str, str]) -> Wish:
    """What a run's tags ask for; unknown statuses ask for nothing."""
    asked = set(tags.get(STATUSES_TAG, "").replace(" ", "").split(","))
    measures = tags.get(MEASURES_TAG, "").replace(" ", "").split(",")
    statuses = frozenset(status for status in _ALL if status in asked)
    return Wish(statuses, frozenset(filter(None, measures)), tags.get(OF_RUN_TAG, "").strip())


_ALL: frozenset[Status] = frozenset(STATUSES)  # type: ignore[arg-type]  # STATUSES are the names of Status


def places_to_retry(tables: Iterable[Sequence[Row]], statuses: Collection[Status]) -> set[Place]:
    """Videos that some table lacks a number of, for one of these reasons."""
    return {(row.sample_id, row.field, row.position) for rows in tables for row in rows if row.fact.status in statuses}


def asked_again(samples: Sequence[Sample], places: Collection[Place]) -> list[Sample]:
    """The samples with these videos alone, as if nobody had looked at their files yet."""
    return [
        replace(
            sample,
            videos=tuple(
                replace(video, content_hash="", num_bytes=0, modified_ns=0, status="ok", reason="")
                for video in sample.videos
                if (sample.sample_id, video.field, video.position) in places and video.path
            ),
        )
        for sample in samples
    ]


def with_videos_of(samples: Sequence[Sample], found: Iterable[Sample]) -> list[Sample]:
    """The samples, with those videos replaced that `found` has."""
    videos = {(sample.sample_id, video.field, video.position): video for sample in found for video in sample.videos}
    return [
        replace(
            sample,
            videos=tuple(videos.get((sample.sample_id, video.field, video.position), video) for video in sample.videos),
        )
        for sample in samples
    ]


def retry_of(
    wish: Wish, earlier: Mapping[str, Sequence[Row]], steps: Sequence[Step], contents_of_run: ContentsOfRun
) -> Retry | None:
    """How `measure_pass` is to go about it; None for a run like any other. earlier: the tables so far, by step key."""
    from dj_assets.measure import Retry

    if not wish:
        return None
    statuses: dict[str, frozenset[Status]] = {}
    settled: dict[str, dict[str, tuple[Fact, ...]]] = {}
    for step in steps:
        is_distrusted = step.measure_id in wish.measures
        statuses[step.measure_id] = _ALL if is_distrusted else wish.statuses
        if is_distrusted and wish.of_run:
            distrusted = contents_of_run(step.operator.name, step.measure_id, wish.of_run)
            others = [row for row in earlier.get(step.key, ()) if row.fact.content_hash not in distrusted]
            settled.setdefault(step.measure_id, {}).update(_settled(others, wish.statuses))
        if not is_distrusted:
            settled.setdefault(step.measure_id, {}).update(_settled(earlier.get(step.key, ()), wish.statuses))
    return Retry(statuses, settled)


def _settled(rows: Sequence[Row], statuses: Collection[Status]) -> dict[str, tuple[Fact, ...]]:
    """content hash → facts of the videos that are not asked for again, by stat, in the order of the table."""
    found: dict[str, dict[str, Fact]] = {}
    for row in rows:
        if row.fact.content_hash:
            found.setdefault(row.fact.content_hash, {}).setdefault(row.fact.stat, row.fact)
    retried = {row.fact.content_hash for row in rows if row.fact.status in statuses}
    return {hash_: tuple(facts.values()) for hash_, facts in found.items() if hash_ not in retried}
