"""Kept samples × one mapper → the next stage's samples: what was made before is found, the rest made in workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from dj_assets.errors import MediaError, Status, StoreError
from dj_assets.machine import num_cores
from dj_assets.measure import STAGE_SECONDS, STAGE_VIDEOS, OperatorFault, Progress, media_limits
from dj_assets.new_samples import Mapped, Stats, new_samples, text_for_bench, videos_of
from dj_assets.plan import MapperStep
from dj_assets.produce_run import Produced, ProduceTask, produce_task
from dj_assets.recipe import Limits, Recipe
from dj_assets.samples import MADE_MARK, PRODUCED_FOLDER, Sample, Video
from dj_assets.store import products
from dj_assets.store.files import sweep_beside
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.products import Kept, ProductFile, ProductKey
from dj_assets.store.rows import Fact, Provenance
from dj_assets.store.store import Store
from dj_assets.video.safe_open import identify as identify_file
from dj_assets.video_run import MeasureSpec, Task
from dj_assets.workers import PoolSpec, result_of, schedule


@dataclass(frozen=True)
class ProduceResult:
    """samples: of the next stage; every kept sample has one or more. made, reused, failed: distinct videos.

    changed: product files that were not as they had been made, and were made again. files: paths of new products.
    error: the mapper's own code failed for some video; the products of the others are kept.
    """

    samples: list[Sample]
    seconds: float
    made: int = 0
    reused: int = 0
    failed: int = 0
    changed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    peak_worker_mb: float = 0.0
    error: Exception | None = None


def produce(
    step: MapperStep,
    recipe: Recipe,
    kept: Sequence[Sample],
    *,
    parent_recipe: str,
    stats: Mapping[str, Stats],
    store: Store,
    limits: Limits,
    roots: Sequence[Path],
    workers: int,
    provenance: Provenance,
    progress: Callable[[Progress], None] | None = None,
    but_not_statuses: Collection[Status] = (),
    is_distrusted: bool = False,
) -> ProduceResult:
    """The samples that a mapper makes of the kept samples of one shard. What is made goes into the store as it comes.

    parent_recipe: the stage that the kept samples are of. stats: sample id -> what was measured of it, as exports name
    it. roots: folders that videos and products may lie in. but_not_statuses: failures to ask for again. is_distrusted:
    make everything again.
    Raises `StoreError` where a folder of products cannot be written to, and what its model lacks, before anything is
    decoded.
    """
    started = time.perf_counter()
    wanted = _wanted(step, recipe, kept)
    store.describe_measure(info_of(step))
    known = store.find_products(step.mapper.name, step.measure_id, list(wanted), but_not_statuses=but_not_statuses)
    sound, changed, rest = _sound(step, known, wanted, roots, trusts_mtime=recipe.settings.trust_mtime, limits=limits)
    if is_distrusted:
        old = ((key, Path(path)) for key, kept in known.items() for path in products.by_path({key: kept}))
        sound, rest, changed = (
            {},
            {},
            [path for key, path in old if path.is_file() and _may_replace(step, path, wanted[key])],
        )
    missing = {key: videos[0] for key, videos in wanted.items() if key not in sound}
    folders = {step.folder_beside(video.path) for video in missing.values()}
    _refuse_unwritable(folders, step)
    for folder in folders:
        sweep_beside(folder, of=MADE_MARK)
    if missing:
        _have_model(step)
    for path in changed:
        path.unlink(missing_ok=True)  # or it would be taken for what it was
    run = _Run(step, store, provenance, len(missing), progress)
    run.take(_outcomes(step, list(_tasks(step, missing, rest, roots, limits)), workers, limits))
    found = {**sound, **run.found}
    samples = [] if run.bug else list(composed(step, recipe, kept, found, stats, parent_recipe))
    return ProduceResult(
        samples,
        seconds=time.perf_counter() - started,
        made=sum(one.status == "ok" for one in run.found.values()),
        reused=len(sound),
        failed=sum(one.status != "ok" for one in run.found.values()),
        changed=tuple(map(str, changed)),
        files=tuple(dict.fromkeys(products.by_path(run.found))),
        peak_worker_mb=run.peak_worker_mb,
        error=OperatorFault(run.bug) if run.bug else None,
    )


def known_products(
    step: MapperStep, recipe: Recipe, samples: Sequence[Sample], store: Store, roots: Sequence[Path]
) -> dict[ProductKey, Kept]:
    """What need not be made for these samples: answers that hold, their files all there. Changes nothing."""
    wanted = _wanted(step, recipe, samples)
    known = store.find_products(step.mapper.name, step.measure_id, list(wanted))
    settings = recipe.settings
    return _sound(step, known, wanted, roots, trusts_mtime=settings.trust_mtime, limits=settings.limits)[0]


def info_of(step: MapperStep) -> MeasureInfo:
    """A mapper's measure as the store writes it down."""
    return MeasureInfo(step.mapper.name, step.measure_id, step.mapper.version, step.params.canonical(), step.device)


def key_of(step: MapperStep, recipe: Recipe, sample: Sample, video: Video) -> ProductKey:
    """What the products of a sample's video hang on."""
    return ProductKey(video.content_hash, text_for_bench(step, recipe, sample), str(step.folder or ""))


def _wanted(step: MapperStep, recipe: Recipe, kept: Iterable[Sample]) -> dict[ProductKey, list[Video]]:
    """The videos to work on, by what their products hang on; those that could not be read are left out."""
    wanted: dict[ProductKey, list[Video]] = {}
    for sample in kept:
        for video in videos_of(step, sample):
            if video.content_hash:
                wanted.setdefault(key_of(step, recipe, sample, video), []).append(video)
    return wanted


# --- what was made before


def _sound(
    step: MapperStep,
    known: Mapping[ProductKey, Kept],
    wanted: Mapping[ProductKey, Sequence[Video]],
    roots: Sequence[Path],
    *,
    trusts_mtime: bool,
    limits: Limits,
) -> tuple[dict[ProductKey, Kept], list[Path], dict[ProductKey, frozenset[str]]]:
    """(answers whose files are all there as they were made, files that lie where they should and are others now, and,
    of the answers that such a file spoils, the paths that are as they were made)."""
    sound: dict[ProductKey, Kept] = {}
    changed: list[Path] = []
    rest: dict[ProductKey, frozenset[str]] = {}
    for key, kept in known.items():
        folders = {step.folder_beside(video.path) for video in wanted[key]} if step.folder is not None else set()
        states = [_state(one, folders, roots, trusts_mtime, limits) for one in kept.products]
        if all(state is not None for state in states):
            sound[key] = replace(kept, products=tuple(state for state in states if state is not None))
        else:
            rest[key] = frozenset(state.path for state in states if state is not None)
            paths = [Path(one.path) for one, state in zip(kept.products, states, strict=True) if state is None]
            changed += [path for path in paths if path.is_file() and _may_replace(step, path, wanted[key])]
    return sound, list(dict.fromkeys(changed)), rest


def _state(
    product: ProductFile, folders: Collection[Path], roots: Sequence[Path], trusts_mtime: bool, limits: Limits
) -> ProductFile | None:
    """The product with its file's time of today; None where the file is not what was made, or lies elsewhere than the
    recipe says. folders: where it must lie, anywhere if empty."""
    if not product.path:
        return product
    if folders and not any(Path(product.path).is_relative_to(folder) for folder in folders):
        return None
    try:
        facts = os.stat(product.path)  # noqa: PTH116, a path of the store, once per clip
        as_made = (facts.st_size, facts.st_mtime_ns) == (product.num_bytes, product.modified_ns)
        if as_made and trusts_mtime:
            return product if _lies_in(product.path, roots) else None
        now = identify_file(product.path, roots=roots, limits=media_limits(limits))
    except (OSError, MediaError):
        return None
    return replace(product, modified_ns=now.modified_ns) if now.content_hash == product.content_hash else None


def _lies_in(path: str, roots: Sequence[Path]) -> bool:
    real = os.path.realpath(path)
    return any(real.startswith(os.path.realpath(root).rstrip(os.sep) + os.sep) for root in roots)


def _may_replace(step: MapperStep, path: Path, videos: Iterable[Video]) -> bool:
    """Whether a file lies where this mapper would write it again; no other one is touched."""
    return any(path.is_relative_to(step.folder_beside(video.path)) for video in videos)


# --- what is to be made


def _refuse_unwritable(folders: Iterable[Path], step: MapperStep) -> None:
    """Raise `StoreError` for a folder that products cannot be written to."""
    for folder in sorted(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            problem = "" if os.access(folder, os.W_OK | os.X_OK) else "no right to write there"
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            option = step.mapper.folder_option
            raise StoreError(
                f"step {step.number} {step.key} cannot write its products to {folder}: {problem}",
                allowed=f"a folder that this user may write to; by default {PRODUCED_FOLDER} beside each video",
                try_=f"set {option} of the step, or DJ_PRODUCED_DATA_DIR for all mappers",
            )


def _have_model(step: MapperStep) -> None:
    """Raise what the mapper lacks on this machine; have at hand what it may download, while no video's clock runs."""
    if (error := step.lacks) is not None:
        raise error
    for need in step.mapper.requires(step.params, step.device):
        need.fetch()


def _tasks(
    step: MapperStep,
    missing: Mapping[ProductKey, Video],
    rest: Mapping[ProductKey, frozenset[str]],
    roots: Sequence[Path],
    limits: Limits,
) -> Iterator[tuple[ProductKey, ProduceTask]]:
    """Largest files first, so that no long video is left for last. rest: as from `_sound`."""
    spec = MeasureSpec(step.measure_id, step.mapper.name, step.params.model_dump_json(), step.device)
    for key, video in sorted(missing.items(), key=lambda pair: -pair[1].num_bytes):
        task = Task(
            path=video.path,
            content_hash=video.content_hash,
            num_bytes=video.num_bytes,
            modified_ns=video.modified_ns,
            roots=tuple(roots),
            specs=(spec,),
            limits=media_limits(limits),
        )
        yield key, ProduceTask(task, step.folder_beside(video.path), key.text, rest.get(key, frozenset()))


def _outcomes(
    step: MapperStep, tasks: Sequence[tuple[ProductKey, ProduceTask]], workers: int, limits: Limits
) -> Iterator[tuple[ProductKey, Produced]]:
    """Have the tasks done in workers: single-threaded ones side by side, or, for a model, one with every core."""
    if not tasks:
        return
    workers = max(1, workers)
    pool = PoolSpec(
        workers=min(workers, 1 << max(0, len(tasks) - 1).bit_length()), memory_mb=limits.memory_mb, threads=1
    )
    threads = max(1, min(workers, num_cores()) // len(tasks))
    if step.compute == "gpu":
        threads = max(1, num_cores() // workers)
        pool = replace(pool, workers=workers, threads=threads, models=tuple(tasks[0][1].video.specs))
    tasks = [(key, replace(task, video=replace(task.video, threads=threads))) for key, task in tasks]
    pending: dict[Future, tuple[ProductKey, ProduceTask]] = {
        schedule(produce_task, task, pool=pool, timeout_seconds=limits.timeout_seconds): (key, task)
        for key, task in tasks
    }
    try:
        for future in as_completed(pending):
            key, task = pending[future]
            try:
                yield key, result_of(task.path, future, pool, limits.timeout_seconds)
            except MediaError as dead:
                yield key, Produced(task, status=dead.status, reason=dead.one_line())
    finally:
        for future in pending:
            future.cancel()


@dataclass
class _Run:
    """Takes what was made as it comes, and stages it in the store."""

    step: MapperStep
    store: Store
    provenance: Provenance
    total: int
    listener: Callable[[Progress], None] | None
    found: dict[ProductKey, Kept] = field(default_factory=dict)
    bug: str = ""
    peak_worker_mb: float = 0.0

    def take(self, outcomes: Iterator[tuple[ProductKey, Produced]]) -> None:
        """Drain the outcomes. Whatever ends this, what was made by then is in the store."""
        started = staged_at = time.monotonic()
        unstaged: list[Fact] = []
        paths: list[Path] = []

        def stage() -> None:
            if unstaged:
                paths.extend(self.store.append_facts(unstaged, self.provenance))
                unstaged.clear()

        self._tell(0, 0.0)
        try:
            for done, (key, produced) in enumerate(outcomes, start=1):
                self.peak_worker_mb = max(self.peak_worker_mb, produced.peak_mb)
                if produced.bug:
                    self.bug = self.bug or f"{produced.task.path}: {produced.bug}"
                else:
                    unstaged.append(self._fact(key, produced))
                if len(unstaged) >= STAGE_VIDEOS or time.monotonic() - staged_at > STAGE_SECONDS:
                    staged_at = time.monotonic()
                    stage()
                self._tell(done, time.monotonic() - started)
        finally:
            stage()
        if len(paths) > 1:
            self.store.compact_facts(self.step.mapper.name, self.step.measure_id, paths)

    def _fact(self, key: ProductKey, produced: Produced) -> Fact:
        kept = Kept(produced.products, produced.status, produced.reason)
        self.found[key] = kept
        return products.fact_of(
            key,
            kept,
            mapper=self.step.mapper.name,
            measure_id=self.step.measure_id,
            device=self.step.device,
            cost_seconds=produced.seconds,
            measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _tell(self, done: int, seconds: float) -> None:
        if self.listener is not None:
            failed = sum(kept.status != "ok" for kept in self.found.values())
            self.listener(Progress(self.step.key, done, self.total, failed, seconds, 0))


def composed(
    step: MapperStep,
    recipe: Recipe,
    kept: Iterable[Sample],
    found: Mapping[ProductKey, Kept],
    stats: Mapping[str, Stats],
    parent_recipe: str,
) -> Iterator[Sample]:
    """The samples of the next stage, of these kept ones, in order. found: what is known of their videos."""
    for sample in kept:
        mapped = [Mapped(video, found.get(key_of(step, recipe, sample, video))) for video in videos_of(step, sample)]
        of_sample = stats.get(sample.sample_id, {})
        yield from new_samples(step, recipe, sample, mapped, of_sample, parent_recipe=parent_recipe)
