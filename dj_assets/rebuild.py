"""Manifest + store → the same export again: no video, no recipe file and no dataset is looked at.

Nor any operator, but for those on records: their numbers are had again from the samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dj_assets.decide import decide
from dj_assets.errors import StoreError
from dj_assets.export import merge_parts, write_part
from dj_assets.export_manifest import (
    ExportedFile,
    ExportManifest,
    Gap,
    ShardInput,
    can_judge,
    load_places,
    places,
    read_manifest,
    remembered_plan,
    remembered_schema,
    samples_digest,
)
from dj_assets.plan import Plan, Step
from dj_assets.records import tables_of
from dj_assets.samples import Sample, Subject
from dj_assets.settle import choose, verdicts_on, vote
from dj_assets.store.rows import Fact, Row, Verdict
from dj_assets.store.store import Store


@dataclass(frozen=True)
class RebuiltFile:
    """One file. expected: as the manifest describes it. found: as it was rebuilt, None where it was not.

    path: where it lies now, None where it was not put anywhere.
    """

    expected: ExportedFile
    found: ExportedFile | None
    path: Path | None = None

    @property
    def is_same(self) -> bool:
        """Byte for byte."""
        return self.found == self.expected


@dataclass(frozen=True)
class Rebuilt:
    """An export made again. differences: why files differ, as far as the manifests tell; lines for people."""

    manifest: ExportManifest
    files: tuple[RebuiltFile, ...]
    differences: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether every file has the bytes that the manifest promises."""
        return all(file.is_same for file in self.files)


def rebuild(path: Path, *, store: Store, folder: Path | None = None, software: str = "") -> Rebuilt:
    """Make an export again from its manifest. Decodes nothing.

    folder: where the files go, whatever their bytes. None: beside the manifest, and only if all of them are as it
    promises. software: as `merge_parts` takes it, to tell which libraries have changed.
    Raises `StoreError` where the store no longer holds what went into it.
    """
    manifest = read_manifest(path)
    target = path.parent if folder is None else folder
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".rebuild-", dir=target) as name:
            again, made = _export_again(manifest, path, store, Path(name), software)
            files = [_compare(expected, again) for expected in manifest.files]
            if folder is not None or all(file.is_same for file in files):
                files = [_put(file, made, target) for file in files]
                _put_manifest(path, made["manifest"], target, is_same=all(file.is_same for file in files))
    except OSError as error:
        raise StoreError(
            f"cannot write into {str(target)!r}: {error}",
            allowed="a folder that this user may write to, with free space",
            try_="name another one: -o DIR",
        ) from error
    return Rebuilt(manifest, tuple(files), tuple(_differences(manifest, again)))


def _export_again(
    manifest: ExportManifest, path: Path, store: Store, folder: Path, software: str
) -> tuple[ExportManifest, Mapping[str, Path]]:
    """(its manifest, paths by name) of the export, written into `folder`."""
    remembered = remembered_plan(manifest, file=str(path))
    recipe = remembered.recipe
    plan = replace(remembered, recipe=replace(recipe, export_path=folder / "out" / recipe.export_path.name))
    gone = _gone_again(plan, manifest, store)
    for shard in manifest.shards:
        samples, tables = _shard_again(plan, shard, store)
        verdicts = verdicts_on(decide(plan, samples, tables), gone)
        write_part(plan, shard.shard, samples, verdicts, tables, folder, schema_of=remembered_schema(shard))
    merged = merge_parts(plan, [shard.shard for shard in manifest.shards], folder, software=software)
    return read_manifest(merged.paths["manifest"]), merged.paths


def _gone_again(plan: Plan, manifest: ExportManifest, store: Store) -> Mapping[str, Verdict]:
    """Whom steps over the whole dataset drop, sample id → verdict; one shard is in memory at a time."""
    if not plan.whole_steps:
        return {}
    ballots = (ballot for shard in manifest.shards for ballot in vote(plan, *_shard_again(plan, shard, store)).ballots)
    return choose(plan, ballots)


def _shard_again(plan: Plan, shard: ShardInput, store: Store) -> tuple[list[Sample], dict[str, list[Row]]]:
    """(samples, rows by step key) as they were exported."""
    samples = read_samples_again(store, plan.recipe.name, shard)
    on_videos = (step for step in plan.measured_steps if not step.is_about_samples)
    return samples, _judged_again(plan, samples) | {s.key: _rows_again(s, shard, samples, store) for s in on_videos}


def read_samples_again(store: Store, recipe: str, shard: ShardInput) -> list[Sample]:
    """A shard's samples as they were exported; lines that were appended since are left out. Raises `StoreError`."""
    try:
        samples = store.read_samples(recipe, shard.shard)[: shard.samples]
    except StoreError as error:
        raise _gone(f"the samples of shard {shard.shard} of recipe {recipe}: {error.given}") from error
    if samples_digest(samples) != shard.samples_digest:
        raise _gone(
            f"the samples that shard {shard.shard} of recipe {recipe} had: its table was made from other records or "
            "other bytes since"
        )
    return samples


def _gone(what: str) -> StoreError:
    return StoreError(
        f"the store no longer holds {what}",
        allowed="the store that the export was made with, its tables and measures still those of then",
        try_="name that store by DJ_ASSETS_STORE, or bring data drop and videos back as they were and process them",
    )


def _judged_again(plan: Plan, samples: Sequence[Sample]) -> dict[str, list[Row]]:
    """The tables of the steps on records. Raises `StoreError` where an operator is no longer the one of then."""
    for step in plan.on_records:
        if not can_judge(step):
            raise StoreError(
                f"{step.operator.name} is not here in version {step.operator.version}, which judged the records",
                allowed="the operators that the export was made with",
                try_="install the version of dj-assets that the manifest names, or process the recipe again",
            )
    return tables_of(plan.on_records, samples)


def _rows_again(step: Step, shard: ShardInput, samples: Sequence[Sample], store: Store) -> list[Row]:
    """The table of a step: numbers from the store, and what the manifest says was not measured."""
    expected = list(places(step, samples))
    gaps = {place: gap for gap in shard.gaps.get(step.key, ()) for place in load_places(gap.at)}
    hashes = {video.content_hash for n, (_, video) in enumerate(expected) if n not in gaps and video.content_hash}
    known = store.find_facts(step.operator.name, step.measure_id, hashes)
    numbers = {(hash_, fact.stat): fact for hash_, facts in known.items() for fact in facts if fact.status == "ok"}
    rows, lost = [], []
    for place, ((sample_id, field, position, stat), video) in enumerate(expected):
        fact = _lacking(step, stat, video, gaps.get(place)) or numbers.get((video.content_hash, stat))
        if fact is None:
            lost.append(f"{sample_id} ({video.given})")
        else:
            rows.append(Row(sample_id, field, position, video.path, fact, reused=True))
    if lost:
        raise _gone(
            f"{len(lost)} numbers of {step.operator.name} {step.operator.version}, measure {step.measure_id}, in shard "
            f"{shard.shard}, that of {lost[0]} first"
        )
    return rows


def _lacking(step: Step, stat: str, video: Subject, gap: Gap | None) -> Fact | None:
    """The fact that there is no number; None where there was one."""
    if gap is None and video.status == "ok":
        return None
    status, reason = (video.status, video.reason) if gap is None else (gap.status, gap.reason)
    return Fact(video.content_hash, step.operator.name, step.measure_id, stat, None, status=status, reason=reason)


def _compare(expected: ExportedFile, again: ExportManifest) -> RebuiltFile:
    return RebuiltFile(expected, next((file for file in again.files if file.name == expected.name), None))


def _put(file: RebuiltFile, made: Mapping[str, Path], target: Path) -> RebuiltFile:
    if file.found is None:
        return file
    return replace(file, path=made[file.expected.name].replace(target / file.expected.file))


def _put_manifest(path: Path, made: Path, target: Path, *, is_same: bool) -> None:
    """The manifest as given beside the same bytes; beside others the one that describes those."""
    if is_same:
        made.write_bytes(path.read_bytes())
    if not (target / path.name).exists() or not (target / path.name).samefile(path):
        made.replace(target / path.name)


def _differences(then: ExportManifest, now: ExportManifest) -> Iterator[str]:
    if then.software != now.software:
        yield f"software was {then.software or 'not recorded'}; now it is {now.software or 'not recorded'}"
    for earlier, later in zip(then.steps, now.steps, strict=True):
        versions = [one["rule"]["version"] for one in (earlier, later) if "rule" in one]
        if len(set(versions)) > 1:
            yield f"{later['key']}: version {versions[0]} chose among the samples then, version {versions[1]} now"
    for before, after in zip(then.shards, now.shards, strict=True):
        for step in before.tables:
            if before.tables[step] != after.tables.get(step):
                yield f"{step}: numbers of shard {before.shard} were measured again since, and are others now"
    for name in ("kept", "set_aside", "dropped", "undecided"):
        if then.counts[name] != now.counts[name]:
            yield f"{name}: {then.counts[name]} then, {now.counts[name]} now"
