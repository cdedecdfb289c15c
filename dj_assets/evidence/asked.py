"""What the store has to show: the facts of one video under a recipe's steps, and the decided shards of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dj_assets.errors import RecipeError, StoreError
from dj_assets.measure import identify
from dj_assets.plan import Plan, Step
from dj_assets.recipe import Limits
from dj_assets.samples import Sample, Video
from dj_assets.store import probes
from dj_assets.store.lineage import explain
from dj_assets.store.probes import stream_line
from dj_assets.store.rows import Fact, Row, Verdict
from dj_assets.store.store import Store


@dataclass(frozen=True)
class Asked:
    """One video that somebody asked about. roots: folders it may lie in. stream: what it is, in one line, or empty.

    facts: what is stored of it, by step key; nothing of a step that was never measured. stages: of the recipe, those
    that list it.
    """

    video: Video
    roots: tuple[Path, ...]
    stream: str
    facts: Mapping[str, tuple[Fact, ...]]
    stages: frozenset[str] = frozenset()


def find_asked(store: Store, plan: Plan, asked: str) -> list[Asked]:
    """The videos that a path, a content hash or a sample id means, and what is stored of them under a plan's steps.

    Whether the plan's recipe was ever processed on them does not matter: facts are found by content. The file is looked
    at anew, so that a renamed or copied one is known by its bytes. Raises `RecipeError` where nothing is known by that
    name.
    """
    named = Path(asked).expanduser().absolute()
    is_file = ":" not in asked and named.is_file()
    roots = (*plan.roots, *([named.parent] if is_file else []))  # who names a file trusts its folder
    limits = plan.recipe.settings.limits
    copies: Sequence[Mapping[str, Any]] = ()
    try:
        copies = explain(store.root, asked).copies
    except RecipeError:
        if not is_file:
            raise
    places = _places(copies)
    if is_file:
        places = {content: [_video(named), *videos] for content, videos in places.items()} or {"": [_video(named)]}
    found = [_as_it_is(content, videos, roots, limits) for content, videos in places.items()]
    contents = [video.content_hash for video in found if video.content_hash]
    streams = {content: stream_line(probe) for content, probe in probes.find(store.root, contents).items()}
    return [
        Asked(
            video,
            roots,
            streams.get(video.content_hash, ""),
            dict(_facts(store, plan, video.content_hash)),
            _stages(plan, copies, video.content_hash),
        )
        for video in found
    ]


def _stages(plan: Plan, copies: Sequence[Mapping[str, Any]], content: str) -> frozenset[str]:
    listing = {copy["recipe"] for copy in copies if copy["content_hash"] == content}
    return frozenset(stage.recipe.name for stage in plan.stages if stage.recipe.name in listing)


def _places(copies: Sequence[Mapping[str, Any]]) -> dict[str, list[Video]]:
    """Content hash → where a file with these bytes was seen."""
    found: dict[str, list[Video]] = {}
    for copy in copies:
        if copy["content_hash"] and copy["path"]:
            video = Video(
                copy["field"],
                copy["position"],
                copy["given"],
                copy["path"],
                copy["content_hash"],
                copy["num_bytes"],
                copy["modified_ns"],
            )
            found.setdefault(video.content_hash, []).append(video)
    return found


def _video(path: Path) -> Video:
    return Video("videos", 0, str(path), str(path))


def _as_it_is(content: str, videos: Sequence[Video], roots: Sequence[Path], limits: Limits) -> Video:
    """The first place where these bytes still lie; else the first one, with the reason why not. content: empty where
    any will do."""
    looked: list[Video] = []
    first: dict[str, Video] = {}
    for video in videos:
        first.setdefault(video.path, video)
    for video in first.values():
        known = {video.path: (video.content_hash, video.num_bytes, video.modified_ns)} if video.content_hash else None
        [sample] = identify([Sample("asked", "", 1, {}, (video,))], roots=roots, limits=limits, known=known)
        [now] = sample.videos
        if now.status == "ok" and now.content_hash != (content or now.content_hash):
            now = replace(now, status="missing", reason=f"{now.path} has other bytes now than when it was measured")
        looked.append(now)
    best = next((video for video in looked if video.status == "ok"), looked[0])
    return best if best.status == "ok" else replace(best, content_hash=content)


def _facts(store: Store, plan: Plan, content: str) -> Iterator[tuple[str, tuple[Fact, ...]]]:
    on_videos = (step for step in plan.measured_steps if not step.is_about_samples)
    for step in on_videos if content else ():
        found = store.find_facts(step.operator.name, step.measure_id, [content])
        if content in found:
            yield step.key, found[content]


def passes(step: Step, facts: Sequence[Fact]) -> bool | None:
    """Whether one video passes a step by itself; None where a number is missing."""
    values = {fact.stat: fact.value for fact in facts if fact.status == "ok"}
    answers = []
    for range_ in step.ranges:
        value = values.get(range_.stat)
        answers.append(None if value is None else range_.passes(value))
    return False if False in answers else None if None in answers else True


def telling(step: Step, facts: Sequence[Fact]) -> Fact:
    """Of a video's numbers, one per stat of the step, the first that fails its bounds; else the first."""
    ranges = {range_.stat: range_ for range_ in step.ranges}
    fails = (
        fact
        for fact in facts
        if fact.value is not None and fact.stat in ranges and not ranges[fact.stat].passes(fact.value)
    )
    return next(fails, facts[0])


# --- decided shards


@dataclass(frozen=True)
class Decided:
    """One shard, as its tables have it: in step with each other and with the plan."""

    shard: str
    samples: list[Sample]
    verdicts: list[Verdict]
    tables: dict[str, list[Row]]


def read_decided(store: Store, plan: Plan, shard: str) -> Decided:
    """A shard's samples, verdicts and stats. Raises `StoreError` where they are missing or answer another question."""
    name = plan.recipe.name
    samples = store.read_samples(name, shard)
    origin = store.verdicts_provenance(name, shard)
    if origin is not None and origin.code_version != plan.bounds_id:
        raise _outdated(plan, shard, "was decided under other bounds")
    verdicts = store.read_verdicts(name, shard)
    if [verdict.sample_id for verdict in verdicts] != [sample.sample_id for sample in samples]:
        raise _outdated(plan, shard, "was decided on other samples")
    tables = {}
    for step in plan.measured_steps:
        tables[step.key], provenance = store.read_stats_and_origin(name, step.key, shard)
        if provenance.code_version != step.measure_id:
            raise _outdated(plan, shard, f"was measured with other params of {step.key}")
    return Decided(shard, samples, verdicts, tables)


def _outdated(plan: Plan, shard: str, what: str) -> StoreError:
    return StoreError(
        f"shard {shard} of {plan.recipe.name} {what}",
        allowed="a shard that was decided by the recipe as it is now",
        try_=f"dj-assets process {plan.recipe.file}",
    )
