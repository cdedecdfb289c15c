"""The worker processes around the measuring of one video: a wall clock, a memory bound, and a life after a crash.

parent ──task──►  worker: open, probe, decode, score  ──outcome──►  parent
   │                 └ watchdog thread: resident memory above the bound → exit 87 → `too_large`
   └ deadline passed → worker killed → `timed_out`;  worker died → `crashed`;  either way a new worker takes over
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import multiprocessing
import multiprocessing.util
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dj_assets import operators
from dj_assets.errors import Crashed, DjAssetsError, MediaError, Status, TimedOut, TooLarge, Unreadable
from dj_assets.frames import FramePlan, VideoInfo
from dj_assets.operators._contract import Device, Operator, Params
from dj_assets.video.safe_open import MediaLimits

if TYPE_CHECKING:
    from dj_assets.video.probe import OpenVideo, Scan

EXIT_OUT_OF_MEMORY = 87
WATCHDOG_SECONDS = 0.05


@dataclass(frozen=True)
class MeasureSpec:
    """One measure to take, in a form that travels between processes. params: the operator's options, canonical."""

    measure_id: str
    operator: str
    params: str
    device: Device


@dataclass(frozen=True)
class Task:
    """One video and what to measure in it. num_bytes and modified_ns: as when it was identified.

    threads: for its decoder and OpenCV; 1 where other workers have work of their own.
    """

    path: str
    content_hash: str
    num_bytes: int
    modified_ns: int
    roots: tuple[Path, ...]
    specs: tuple[MeasureSpec, ...]
    limits: MediaLimits
    threads: int = 1


@dataclass(frozen=True)
class Measured:
    """What one measure found in one video. values: one per stat of the operator, empty when not measured.

    bug: traceback of an error that is nobody's data but a fault in an operator; then nothing is stored.
    """

    measure_id: str
    values: tuple[float, ...] = ()
    window_values: tuple[float, ...] = ()
    window_details: tuple[str, ...] = ()
    status: Status = "ok"
    reason: str = ""
    cost_seconds: float = 0.0
    bug: str = ""


@dataclass(frozen=True)
class Outcome:
    """All measures of one task. probed: what the video is (see `store.probes`), empty where it could not be opened.
    frames: distinct frames that the measures looked at. peak_mb: the worker's, so far."""

    task: Task
    measured: tuple[Measured, ...]
    probed: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True)
class PoolSpec:
    """What makes one pool of workers different from another.

    threads: for a model's arithmetic, in each worker. models: loaded before the first task, so that no video's clock
    pays for them.
    """

    workers: int
    memory_mb: int
    threads: int
    models: tuple[MeasureSpec, ...] = ()


@dataclass
class _Worker:
    """State of one worker process."""

    models: dict[tuple[str, str, Device], Any] = field(default_factory=dict)
    failures: dict[tuple[str, str, Device], Exception] = field(default_factory=dict)


_worker = _Worker()
_pools: dict[PoolSpec, Any] = {}
_pools_lock = threading.Lock()


def measure_tasks(tasks: Sequence[Task], *, pool: PoolSpec, timeout_seconds: float) -> Iterator[Outcome]:
    """Measure every task in worker processes; yield outcomes as they come, one per task, whatever happens to it.

    Closing the iterator early (a termination, say) kills the workers that are busy.
    """
    if not tasks:
        return
    executor = _pool(pool)
    pending: dict[Future, Task] = {
        executor.schedule(measure_task, args=(task,), timeout=timeout_seconds): task for task in tasks
    }
    try:
        for future in as_completed(pending):
            yield _outcome(pending[future], future, pool, timeout_seconds)
    finally:
        for future in pending:
            future.cancel()


def call(work: Callable[..., Any], *args: Any, pool: PoolSpec, timeout_seconds: float, about: str | None = None) -> Any:
    """Run a function in a worker under the same bounds. Raises what it raises, and `MediaError` if the worker dies.

    The function and its arguments must be importable and picklable. about: what a `MediaError` names; default the path
    of the first argument, a `Task`.
    """
    from pebble import ProcessExpired

    named = args[0].path if about is None else about
    future = _pool(pool).schedule(work, args=args, timeout=timeout_seconds)
    try:
        return future.result()
    except TimeoutError:
        raise _overtime(named, timeout_seconds) from None
    except ProcessExpired as expired:
        raise _death(named, expired.exitcode, pool.memory_mb) from None
    finally:
        future.cancel()


def _outcome(task: Task, future: Future, pool: PoolSpec, timeout_seconds: float) -> Outcome:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        error: MediaError = _overtime(task.path, timeout_seconds)
    except ProcessExpired as expired:
        error = _death(task.path, expired.exitcode, pool.memory_mb)
    failed = tuple(Measured(spec.measure_id, status=error.status, reason=error.one_line()) for spec in task.specs)
    return Outcome(task, failed)


def _overtime(path: str, timeout_seconds: float) -> TimedOut:
    return TimedOut(
        f"{path} took more than {timeout_seconds:g} s",
        allowed=f"{timeout_seconds:g} s a video and pass",
        try_="raise dj_assets: limits: timeout_seconds",
    )


def _death(path: str, exit_code: int | None, memory_mb: int) -> MediaError:
    if exit_code == EXIT_OUT_OF_MEMORY:
        return TooLarge(
            f"{path} needs more memory than a worker may have",
            allowed=f"{memory_mb} MB",
            try_="raise dj_assets: limits: memory_mb",
        )
    code = exit_code or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Crashed(
        f"the worker died of {how} while it had {path}",
        allowed="a video that decodes without bringing its decoder down",
        try_="run again, since the machine may have been short of memory; then re-encode the video",
    )


def _pool(spec: PoolSpec) -> Any:
    """The pool of that kind, kept between shards so that imports and models are paid for once."""
    from pebble import ProcessPool

    with _pools_lock:
        pool = _pools.get(spec)
        if pool is None or not pool.active:
            # spawn: forking a process that has threads, torch or OpenCV in it can leave a child that hangs.
            context = multiprocessing.get_context("spawn")
            pool = ProcessPool(max_workers=spec.workers, context=context, initializer=_start_worker, initargs=(spec,))
            _pools[spec] = pool
            # Processes of multiprocessing, Dagster's run workers among them, leave without atexit: they run these
            # finalizers, then wait for their children, and idle workers would have them wait for ever.
            multiprocessing.util.Finalize(None, close_pools, exitpriority=100)
        return pool


@atexit.register
def close_pools() -> None:
    """Stop every worker process; the next pass starts new ones."""
    with _pools_lock:
        for pool in _pools.values():
            pool.stop()
            with contextlib.suppress(TimeoutError):  # a worker stuck in the kernel must not keep the exit waiting
                pool.join(timeout=10)
        _pools.clear()


def _start_worker(spec: PoolSpec) -> None:
    """Runs once in each worker. Must not raise: a fault here is told with the first task instead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(spec.threads)
    _limit_memory(spec)
    if spec.models:
        _return_freed_memory()
    logging.getLogger().setLevel(logging.WARNING)
    import cv2

    cv2.setNumThreads(spec.threads)
    for measure in spec.models:
        _preload(measure, spec.threads)


def _limit_memory(spec: PoolSpec) -> None:
    on_gpu = any(measure.device == "cuda" for measure in spec.models)
    if sys.platform == "linux" and not on_gpu:  # CUDA reserves address space far beyond what it uses
        limit = 2 * spec.memory_mb * 2**20  # a hard stop behind the watchdog, for one allocation that leaps past it
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    threading.Thread(target=_watch_memory, args=(spec.memory_mb,), daemon=True).start()


def _return_freed_memory() -> None:
    """Have glibc give freed tensors back at once. It would keep those under 32 MB: 150 MB after one OCR frame."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from other C libraries
        if mallopt is not None:
            m_trim_threshold, m_mmap_threshold = -1, -3
            mallopt(m_mmap_threshold, 2**20)
            mallopt(m_trim_threshold, 2**20)


def _watch_memory(memory_mb: int) -> None:
    while resident_mb() <= memory_mb:
        time.sleep(WATCHDOG_SECONDS)
    os._exit(EXIT_OUT_OF_MEMORY)


def resident_mb() -> float:
    """Resident memory of this process in MB; its peak where the system does not tell the present figure."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return peak_mb()


def peak_mb() -> float:
    """Highest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _preload(spec: MeasureSpec, threads: int) -> None:
    """Load a model while no video's clock runs. A fault is kept for the first task, which can tell of it."""
    try:
        _model(spec)
    except Exception:
        logging.getLogger(__name__).debug("model of %s not loaded", spec.operator, exc_info=True)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _model(spec: MeasureSpec) -> Any:
    """The operator's model, loaded once per worker. Raises what its `load` raised, each time it is asked for."""
    key = (spec.operator, spec.params, spec.device)
    if key in _worker.failures:
        raise _worker.failures[key]
    if key not in _worker.models:
        operator, params = resolve(spec)
        try:
            _worker.models[key] = operator.load(params, spec.device)
        except Exception as error:
            _worker.failures[key] = error
            raise
    return _worker.models[key]


def resolve(spec: MeasureSpec) -> tuple[Operator, Params]:
    operator = operators.get(spec.operator)
    return operator, operator.params.model_validate_json(spec.params)


def measure_task(task: Task) -> Outcome:
    """Measure one video: open, probe, plan, decode once, score. Runs in a worker; usable in this process too.

    A `MediaError` becomes the status of the measures that it concerns; a fault of one operator becomes its `bug`.
    """
    started = time.perf_counter()
    _use_threads(task.threads)
    run = _VideoRun(task)
    try:
        run.measure()
    except MediaError as error:
        run.fail_rest(error)
    except MemoryError:
        run.fail_rest(_death(task.path, EXIT_OUT_OF_MEMORY, 0))
    seconds = time.perf_counter() - started
    return Outcome(task, tuple(run.measured()), run.probed, frames=run.frames, seconds=seconds, peak_mb=peak_mb())


def _use_threads(count: int) -> None:
    import cv2

    if cv2.getNumThreads() != count:
        cv2.setNumThreads(count)


class _VideoRun:
    """One video on its way through a worker. Each measure ends in `done`, with a number, a status or a bug."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.done: dict[str, Measured] = {}
        self.probed: dict[str, Any] = {}
        self.frames = 0
        self.decode_seconds = 0.0
        self.score_seconds: dict[str, float] = {}

    def measured(self) -> Iterator[Measured]:
        """The results in the order of the task's specs."""
        for spec in self.task.specs:
            yield self.done[spec.measure_id]

    def fail(self, spec: MeasureSpec, error: MediaError) -> None:
        self.done[spec.measure_id] = Measured(spec.measure_id, status=error.status, reason=error.one_line())

    def fail_rest(self, error: MediaError) -> None:
        for spec in self.task.specs:
            if spec.measure_id not in self.done:
                self.fail(spec, error)

    def guarded(self, spec: MeasureSpec, work: Callable[[], Any]) -> Any:
        """Run one operator's own code; None when it could not, with the reason in `done`."""
        try:
            return work()
        except MediaError as error:
            self.fail(spec, error)
        except MemoryError:
            raise
        except DjAssetsError as error:  # weights or a device that are not there: told without a traceback
            self.done[spec.measure_id] = Measured(spec.measure_id, bug=str(error))
        except Exception:
            self.done[spec.measure_id] = Measured(spec.measure_id, bug=traceback.format_exc())
        return None

    def measure(self) -> None:
        from dj_assets.video.probe import probe

        with self._open() as video:
            check_unchanged(self.task)
            on_frames = [spec for spec in self.task.specs if resolve(spec)[0].read is None]
            started = time.perf_counter()
            scan = probe(video, hold=bool(on_frames))
            self.decode_seconds += time.perf_counter() - started
            self.probed = probe_record(scan.info)
            for spec in self.task.specs:
                if spec not in on_frames:
                    self._read_header(spec, *resolve(spec), scan.info)
            if on_frames:
                self._measure_frames(on_frames, video, scan)

    def _open(self) -> contextlib.AbstractContextManager[OpenVideo]:
        from dj_assets.video.probe import open_video

        task = self.task
        return open_video(task.path, roots=task.roots, limits=task.limits, threads=task.threads)

    def _read_header(self, spec: MeasureSpec, operator: Operator, params: Params, info: VideoInfo) -> None:
        started = time.perf_counter()
        values = self.guarded(spec, lambda: tuple(float(v) for v in operator.read(info, params)))  # type: ignore[misc]
        if values is not None:
            cost = self.decode_seconds / len(self.task.specs) + time.perf_counter() - started
            self.done[spec.measure_id] = Measured(
                spec.measure_id, values=values, window_values=values, cost_seconds=cost
            )

    def _measure_frames(self, specs: Sequence[MeasureSpec], video: OpenVideo, scan: Scan) -> None:
        from dj_assets.video.decode import FramesMissing, is_planned, with_rotation
        from dj_assets.video.probe import rescan_by_decoding

        started = time.perf_counter()
        scan = with_rotation(video, scan)
        self.decode_seconds += time.perf_counter() - started
        if is_planned(video, scan):
            with contextlib.suppress(FramesMissing):
                return self._decode_and_score(specs, video, scan)
            # Its key packets are not what they seem; all packets in order tell more.
        try:
            self._decode_and_score(self._left(specs), video, scan, linear=True)
        except FramesMissing:
            # Some streams hold packets that show nothing, so the packet count is not the frame count. Count frames.
            with self._open() as again:
                rescan = rescan_by_decoding(again)
                if rescan.info.num_frames_from_scan == scan.info.num_frames_from_scan:
                    raise
                info = replace(rescan.info, rotation_degrees=scan.info.rotation_degrees)
                self._decode_and_score(self._left(specs), again, replace(rescan, info=info), linear=True)

    def _left(self, specs: Sequence[MeasureSpec]) -> list[MeasureSpec]:
        return [spec for spec in specs if spec.measure_id not in self.done]

    def _decode_and_score(
        self, specs: Sequence[MeasureSpec], video: OpenVideo, scan: Scan, *, linear: bool = False
    ) -> None:
        from dj_assets.video.decode import decode_windows, wanted_frames

        planned = list(self._plans(specs, scan.info))
        scores: dict[str, list[Any]] = {spec.measure_id: [] for spec, _ in planned}
        started = time.perf_counter()
        for number, windows in decode_windows(video, scan, [plan for _, plan in planned], linear=linear):
            self.decode_seconds += time.perf_counter() - started
            spec = planned[number][0]
            if spec.measure_id not in self.done:
                self._score(spec, windows, scores[spec.measure_id])
            started = time.perf_counter()
        self.decode_seconds += time.perf_counter() - started
        self.frames = max(self.frames, len(wanted_frames([plan for _, plan in planned])))
        for spec, _ in planned:
            if spec.measure_id not in self.done:
                self._reduce(spec, scores[spec.measure_id], len(planned))

    def _plans(self, specs: Sequence[MeasureSpec], info: VideoInfo) -> Iterator[tuple[MeasureSpec, FramePlan]]:
        for spec in specs:
            operator, params = resolve(spec)
            plan = self.guarded(spec, lambda op=operator, p=params: op.plan(info, p))  # type: ignore[misc]
            if plan is not None:
                yield spec, plan

    def _score(self, spec: MeasureSpec, windows: Any, scores: list[Any]) -> None:
        operator, params = resolve(spec)
        started = time.perf_counter()
        result = self.guarded(spec, lambda: operator.score(windows, params, _model(spec)))  # type: ignore[misc]
        elapsed = time.perf_counter() - started
        self.score_seconds[spec.measure_id] = self.score_seconds.get(spec.measure_id, 0.0) + elapsed
        if result is not None:
            scores.append(result)

    def _reduce(self, spec: MeasureSpec, scores: Sequence[Any], sharers: int) -> None:
        operator, _ = resolve(spec)
        values = np.concatenate([score.values for score in scores]) if scores else np.zeros(0)
        details = tuple(detail for score in scores for detail in score.details)
        value = self.guarded(spec, lambda: _finite(operator.reduce(values), operator.name))
        if value is not None:
            self.done[spec.measure_id] = Measured(
                spec.measure_id,
                values=(value,),
                window_values=tuple(float(window) for window in values),
                window_details=details,
                cost_seconds=self.decode_seconds / sharers + self.score_seconds.get(spec.measure_id, 0.0),
            )


def check_unchanged(task: Task) -> None:
    """A file that is still being written would be stored under the hash of something else. Raises `Unreadable`."""
    facts = Path(task.path).stat()
    if (facts.st_size, facts.st_mtime_ns) != (task.num_bytes, task.modified_ns):
        raise Unreadable(
            f"{task.path} changed after it was identified",
            allowed="files that stay as they are during a run",
            try_="run again once it is complete",
        )


def probe_record(info: VideoInfo) -> dict[str, Any]:
    """What a probe found, by the column names of `store.probes`."""
    return {
        "width": info.size.width,
        "height": info.size.height,
        "duration_seconds": info.duration_seconds,
        "fps": info.fps,
        "num_frames": info.num_frames_from_scan,
        "num_keyframes": len(info.keyframes),
        "rotation_degrees": info.rotation_degrees,
        "codec": info.codec,
        "container": info.container,
        "pixel_format": info.pixel_format,
        "has_audio": info.has_audio,
    }


def _finite(value: float, operator: str) -> float:
    """Refuse NaN and infinity: they would pass for measurements."""
    if not np.isfinite(value):
        raise ArithmeticError(f"{operator} gave {value}, expected a finite number")
    return float(value)
