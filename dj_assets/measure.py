"""Videos × operators → rows: find what is known, measure the rest in worker processes, put every row in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dj_assets.errors import MediaError, Status
from dj_assets.feed import feed_tasks
from dj_assets.machine import num_cores
from dj_assets.plan import Pass, Step, lacking
from dj_assets.recipe import Limits
from dj_assets.records import OperatorFault, judged_samples, rows_of
from dj_assets.samples import Sample, Video, content_key
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.rows import Fact, Provenance, Row
from dj_assets.store.store import Store
from dj_assets.video.safe_open import Identity, MediaLimits
from dj_assets.video.safe_open import identify as identify_file
from dj_assets.video_run import MeasureSpec, Outcome, Task
from dj_assets.workers import PoolSpec, measure_tasks

STAGE_VIDEOS = 64
STAGE_SECONDS = 15.0
"""Finished videos are staged in the store after so many, or after so long: what a kill may cost."""


@dataclass(frozen=True)
class Progress:
    """How far a pass has come. done, total: videos to measure. frames: wanted frames decoded so far."""

    pass_name: str
    done: int
    total: int
    undecided: int
    seconds: float
    frames: int


@dataclass(frozen=True)
class PassResult:
    """Tables by step key, rows out = videos in. errors: steps whose operator is at fault; they have no table.

    measured, reused, skipped: (video, step) pairs. decoded: videos of which frames were decoded.
    """

    tables: dict[str, list[Row]]
    seconds: float
    measured: int = 0
    reused: int = 0
    skipped: int = 0
    decoded: int = 0
    frames: int = 0
    peak_worker_mb: float = 0.0
    errors: dict[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class Retry:
    """Which answers to ask for again, in a run that retries. Both by measure id; measures not named are as ever.

    statuses: answers of the store that are not taken for one (`ok` among them: numbers are measured anew).
    settled: content hash -> facts that stand as they are, timed out or skipped though they be, unless the store has a
    better answer by now: a retry measures nothing else.
    """

    statuses: Mapping[str, frozenset[Status]]
    settled: Mapping[str, Mapping[str, tuple[Fact, ...]]] = field(default_factory=dict)


def media_limits(limits: Limits) -> MediaLimits:
    """The recipe's limits in the units of the video room."""
    return MediaLimits(max_pixels=limits.max_pixels, max_frames=limits.max_frames, max_bytes=limits.max_file_mb * 2**20)


def require(steps: Sequence[Step], samples: Sequence[Sample], store: Store) -> None:
    """Raise what a step lacks on this machine (weights, a package) where the samples hold a video that it has not
    measured yet. For before the first pass: nothing is decoded for a run that cannot end well."""
    for step, error in lacking(steps):
        known = _known_facts([step], samples, store, Retry({}))
        if next(_tasks([step], samples, known, None, (), Limits()), None) is not None:
            raise error


def identify(
    samples: Sequence[Sample],
    *,
    roots: Sequence[Path],
    limits: Limits,
    known: Mapping[str, tuple[str, int, int]] | None = None,
) -> list[Sample]:
    """Fill in each video's content hash, size and time, or the status and reason why it cannot be opened.

    Each path is read once, in a few threads, however often it is listed; not at all where `known` (path -> content
    hash, bytes, modification time in ns) still has its size and time.
    """
    remembered = {path: Identity(*facts) for path, facts in (known or {}).items()}
    bounds = media_limits(limits)
    paths = list(dict.fromkeys(video.path for sample in samples for video in sample.videos if video.status == "ok"))

    def facts(path: str) -> dict[str, object]:
        try:
            found = identify_file(path, roots=roots, limits=bounds, known=remembered.get(path))
        except MediaError as error:
            return {"status": error.status, "reason": error.one_line()}
        return {
            "content_hash": found.content_hash,
            "num_bytes": found.num_bytes,
            "modified_ns": found.modified_ns,
        }

    with ThreadPoolExecutor(max_workers=min(8, 2 * num_cores())) as threads:
        found_at = dict(zip(paths, threads.map(facts, paths), strict=True))

    def identified(video: Video) -> Video:
        return replace(video, **found_at[video.path]) if video.status == "ok" else video  # type: ignore[arg-type]

    return [replace(sample, videos=tuple(identified(video) for video in sample.videos)) for sample in samples]


def measure_pass(
    pass_: Pass,
    *,
    samples: Sequence[Sample],
    store: Store,
    limits: Limits,
    roots: Sequence[Path],
    workers: int,
    wanted: Collection[str],
    still_in: Collection[str] | None,
    provenance: Provenance,
    progress: Callable[[Progress], None] | None = None,
    retry: Retry | None = None,
) -> PassResult:
    """Tables of one pass over one shard: every subject of every sample gets one row per stat of each wanted step.

    A pass on records takes no worker, skips nothing, and leaves no facts: they are had again sooner than looked up.

    wanted: step keys to make tables for. still_in: ids of the samples worth measuring (None: all); the videos of the
    others get `skipped` rows unless their numbers are known already. What is measured goes into the store as it comes.
    """
    started = time.perf_counter()
    steps = [step for step in pass_.steps if step.key in wanted]
    in_play = None if still_in is None else set(still_in)
    for step in steps:
        store.describe_measure(info_of(step))
    if pass_.compute == "record":
        return _record_pass(pass_, steps, samples, started)
    known = _known_facts(steps, samples, store, retry or Retry({}))
    tasks = list(_tasks(steps, samples, known, in_play, roots, limits))
    _fetch(steps, tasks)
    probes = store.find_probes({task.content_hash for task in tasks})
    tasks = _longest_first(tasks, probes)
    unprobed = {task.content_hash for task in tasks} - probes.keys()
    run = _Run(store, provenance, _Meter(pass_.compute, len(tasks), progress), unprobed)
    run.take(_outcomes(pass_, steps, tasks, workers, limits), steps)
    faults: dict[str, Exception] = {
        step.key: OperatorFault(run.bugs[step.measure_id]) for step in steps if step.measure_id in run.bugs
    }
    tables = {
        step.key: list(_rows(step, samples, known.get(step.measure_id, {}), run.facts, in_play))
        for step in steps
        if step.key not in faults
    }
    rows = [row for table in tables.values() for row in table]
    return PassResult(
        tables=tables,
        seconds=time.perf_counter() - started,
        measured=sum(len(task.specs) for task in tasks),
        reused=len({(r.sample_id, r.field, r.position, r.fact.measure_id) for r in rows if r.reused}),
        skipped=sum(row.fact.status == "skipped" for row in rows),
        decoded=run.decoded,
        frames=run.meter.frames,
        peak_worker_mb=run.peak_worker_mb,
        errors=faults,
    )


def _record_pass(pass_: Pass, steps: Sequence[Step], samples: Sequence[Sample], started: float) -> PassResult:
    """Tables of the wanted steps; those before them are judged, too, since their stats may be read."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    wanted = {step.key for step in steps}
    tables: dict[str, list[Row]] = {step.key: [] for step in steps}
    faults: dict[str, Exception] = {}
    for itself, judged in judged_samples(pass_.steps, samples):
        for step, one in zip(pass_.steps, judged, strict=True):
            if one.bug:
                faults.setdefault(step.key, OperatorFault(f"{itself.given}: {one.bug}"))
            elif step.key in wanted:
                tables[step.key].extend(rows_of(step, itself, one, measured_at=now))
    return PassResult(
        tables={key: rows for key, rows in tables.items() if key not in faults},
        seconds=time.perf_counter() - started,
        measured=len(samples) * len(steps),
        errors={key: fault for key, fault in faults.items() if key in wanted},
    )


def _fetch(steps: Sequence[Step], tasks: Sequence[Task]) -> None:
    """Have at hand what the tasks' models need, downloaded where a step allows that, while no video's clock runs."""
    wanted = {spec.measure_id for task in tasks for spec in task.specs}
    for step in steps:
        if step.measure_id in wanted:
            for need in step.operator.requires(step.params, step.device):
                need.fetch()


Known = Mapping[str, Mapping[str, tuple[Fact, ...]]]
"""measure id -> content hash, see `samples.content_key` -> facts, one per stat."""


def _known_facts(steps: Sequence[Step], samples: Sequence[Sample], store: Store, retry: Retry) -> Known:
    known: dict[str, Mapping[str, tuple[Fact, ...]]] = {}
    for step in steps:
        hashes = {video.content_hash for sample in samples for video in step.videos(sample) if video.content_hash}
        asked_again = retry.statuses.get(step.measure_id, frozenset())
        found = store.find_facts(step.operator.name, step.measure_id, hashes, but_not_statuses=asked_again)
        known[step.measure_id] = {**retry.settled.get(step.measure_id, {}), **found}
    return known


def _tasks(
    steps: Sequence[Step],
    samples: Sequence[Sample],
    known: Known,
    in_play: Collection[str] | None,
    roots: Sequence[Path],
    limits: Limits,
) -> Iterator[Task]:
    """One task per distinct content that lacks a wanted number."""
    bounds = media_limits(limits)
    missing: dict[str, dict[str, MeasureSpec]] = {}
    first: dict[str, Video] = {}
    for sample in samples:
        if in_play is not None and sample.sample_id not in in_play:
            continue
        for step in steps:
            for video in step.videos(sample):
                if video.content_hash and video.content_hash not in known[step.measure_id]:
                    first.setdefault(video.file_hash, video)
                    spec = replace(spec_of(step), text=video.text)
                    missing.setdefault(video.file_hash, {})[spec.key] = spec
    for content_hash, specs in missing.items():
        video = first[content_hash]
        yield Task(
            path=video.path,
            content_hash=content_hash,
            num_bytes=video.num_bytes,
            modified_ns=video.modified_ns,
            roots=tuple(roots),
            specs=tuple(specs.values()),
            limits=bounds,
        )


def _longest_first(tasks: Sequence[Task], probes: Mapping[str, Mapping[str, Any]]) -> list[Task]:
    """So that no long video is left for last, when the other workers have nothing to do.

    By pixels and duration where an earlier pass has seen them; by bytes, at the rate of those, where none has.
    """
    known = {key: probe["width"] * probe["height"] * probe["duration_seconds"] for key, probe in probes.items()}
    num_bytes = sum(task.num_bytes for task in tasks if task.content_hash in known)
    per_byte = sum(known.values()) / num_bytes if num_bytes else 1.0
    return sorted(tasks, key=lambda task: -known.get(task.content_hash, task.num_bytes * per_byte))


def info_of(step: Step) -> MeasureInfo:
    """A step's measure as the store writes it down."""
    return MeasureInfo(step.operator.name, step.measure_id, step.operator.version, step.params.canonical(), step.device)


def spec_of(step: Step) -> MeasureSpec:
    """A step's measure as it travels to a worker."""
    return MeasureSpec(step.measure_id, step.operator.name, step.params.model_dump_json(), step.device)


def _outcomes(
    pass_: Pass, steps: Sequence[Step], tasks: Sequence[Task], workers: int, limits: Limits
) -> Iterator[Outcome]:
    """Have the tasks measured. Header and cpu passes share one pool of single-threaded workers; a model has a process
    with every core, and decoders of its own where it is on a GPU."""
    cores = num_cores()
    plain = PoolSpec(workers=max(1, workers), memory_mb=limits.memory_mb, threads=1)
    if pass_.compute != "gpu":
        threads = max(1, min(plain.workers, cores) // max(1, len(tasks)))
        # No worker without a video; by powers of two, so that shards that grow leave few smaller pools behind.
        few = replace(plain, workers=min(plain.workers, 1 << max(0, len(tasks) - 1).bit_length()))
        yield from measure_tasks(_with_threads(tasks, threads), pool=few, timeout_seconds=limits.timeout_seconds)
        return
    model = replace(plain, threads=max(1, cores // plain.workers), models=tuple(dict.fromkeys(map(spec_of, steps))))
    if all(step.device == "cpu" for step in steps):
        tasks = _with_threads(tasks, model.threads)
        yield from measure_tasks(tasks, pool=model, timeout_seconds=limits.timeout_seconds)
        return
    decoders = replace(plain, workers=max(1, cores - 1))
    yield from feed_tasks(tasks, decoders=decoders, model=model, timeout_seconds=limits.timeout_seconds)


def _with_threads(tasks: Sequence[Task], threads: int) -> list[Task]:
    return [replace(task, threads=threads) for task in tasks]


class _Meter:
    """Counts what is done and tells whoever listens."""

    def __init__(self, pass_name: str, total: int, listener: Callable[[Progress], None] | None) -> None:
        self.pass_name = pass_name
        self.total = total
        self.listener = listener
        self.done = self.undecided = self.frames = 0
        self.started = time.perf_counter()
        self.tell()

    def count(self, outcome: Outcome) -> None:
        self.done += 1
        self.undecided += any(measured.status != "ok" for measured in outcome.measured)
        self.frames += outcome.frames
        self.tell()

    def tell(self) -> None:
        if self.listener is not None:
            seconds = time.perf_counter() - self.started
            self.listener(Progress(self.pass_name, self.done, self.total, self.undecided, seconds, self.frames))


class _Run:
    """Takes outcomes as they come and stages them in the store."""

    def __init__(self, store: Store, provenance: Provenance, meter: _Meter, unprobed: Collection[str]) -> None:
        self.store = store
        self.provenance = provenance
        self.meter = meter
        self.facts: dict[tuple[str, str], tuple[Fact, ...]] = {}
        self.bugs: dict[str, str] = {}
        self.decoded = 0
        self.peak_worker_mb = 0.0
        self._unprobed = set(unprobed)
        self._probes: dict[str, Mapping[str, Any]] = {}
        self._unstaged: list[Fact] = []
        self._staged: dict[tuple[str, str], list[Path]] = {}
        self._staged_at = time.monotonic()

    def take(self, outcomes: Iterator[Outcome], steps: Sequence[Step]) -> None:
        """Drain the outcomes. Whatever ends this, what was measured by then is in the store."""
        by_id = {step.measure_id: step for step in steps}
        try:
            for outcome in outcomes:
                self._add(outcome, by_id)
                if len(self._unstaged) >= STAGE_VIDEOS or time.monotonic() - self._staged_at > STAGE_SECONDS:
                    self._stage()
        finally:
            self._stage()
            self.store.append_probes(self._probes, self.provenance)
        for (operator, measure_id), paths in self._staged.items():
            if len(paths) > 1:
                self.store.compact_facts(operator, measure_id, paths)

    def _add(self, outcome: Outcome, by_id: Mapping[str, Step]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for spec, measured in zip(outcome.task.specs, outcome.measured, strict=True):
            content_hash = content_key(outcome.task.content_hash, spec.text)
            if measured.bug:
                self.bugs.setdefault(measured.measure_id, f"{outcome.task.path}: {measured.bug}")
                continue
            step = by_id[measured.measure_id]
            values = measured.values or (None,) * len(step.operator.stats)
            facts = tuple(
                Fact(
                    content_hash=content_hash,
                    operator=step.operator.name,
                    measure_id=measured.measure_id,
                    stat=stat.name,
                    value=value,
                    window_values=measured.of_stat(index),
                    window_details=measured.window_details,
                    status=measured.status,
                    reason=measured.reason,
                    cost_seconds=measured.cost_seconds,
                    device=step.device,
                    measured_at=now,
                )
                for index, (stat, value) in enumerate(zip(step.operator.stats, values, strict=True))
            )
            self.facts[(measured.measure_id, content_hash)] = facts
            self._unstaged.extend(facts)
        if outcome.probed and outcome.task.content_hash in self._unprobed:
            self._probes[outcome.task.content_hash] = outcome.probed
        self.decoded += outcome.frames > 0
        self.peak_worker_mb = max(self.peak_worker_mb, outcome.peak_mb)
        self.meter.count(outcome)

    def _stage(self) -> None:
        self._staged_at = time.monotonic()
        if not self._unstaged:
            return
        facts, self._unstaged = self._unstaged, []
        paths = self.store.append_facts(facts, self.provenance)
        measures = dict.fromkeys((fact.operator, fact.measure_id) for fact in facts)
        for measure, path in zip(measures, paths, strict=True):
            self._staged.setdefault(measure, []).append(path)


def _rows(
    step: Step,
    samples: Sequence[Sample],
    known: Mapping[str, tuple[Fact, ...]],
    new: Mapping[tuple[str, str], tuple[Fact, ...]],
    in_play: Collection[str] | None,
) -> Iterator[Row]:
    """One row per video of the step's field and stat, in sample order."""
    for sample in samples:
        for video in step.videos(sample):
            reused = video.content_hash in known
            facts = known.get(video.content_hash) or new.get((step.measure_id, video.content_hash))
            reused = reused and not any(fact.status == "skipped" for fact in facts or ())
            if not facts:
                skipped = in_play is not None and sample.sample_id not in in_play
                facts = _unmeasured(step, video, skipped=skipped and video.status == "ok")
            for fact in facts:
                yield Row(sample.sample_id, video.field, video.position, video.path, fact, reused)


def _unmeasured(step: Step, video: Video, *, skipped: bool) -> tuple[Fact, ...]:
    status, reason = video.status, video.reason
    if skipped:
        status, reason = "skipped", "an earlier step had dropped the sample (short_circuit)"
    elif status == "ok":
        raise LookupError(f"{step.key}: no outcome for {video.path}; this is a fault of the engine")
    return tuple(
        Fact(
            content_hash=video.content_hash,
            operator=step.operator.name,
            measure_id=step.measure_id,
            stat=stat.name,
            value=None,
            status=status,
            reason=reason,
            device=step.device,
        )
        for stat in step.operator.stats
    )
