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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dj_assets.errors import Crashed, MediaError, TimedOut
from dj_assets.video_run import Measured, MeasureSpec, Outcome, Task, measure_task, model_of, out_of_memory, peak_mb

EXIT_OUT_OF_MEMORY = 87
WATCHDOG_SECONDS = 0.05
TRIM_SECONDS = 5.0
"""Between two times that a worker gives back what it keeps."""


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

    def serves(self, wanted: PoolSpec) -> bool:
        """Whether a pool of this kind will do where another is wanted: it is alike, and has as many workers or more."""
        return self.workers >= wanted.workers and replace(self, workers=wanted.workers) == wanted


_pools: dict[PoolSpec, Any] = {}
_pools_lock = threading.Lock()


def measure_tasks(tasks: Sequence[Task], *, pool: PoolSpec, timeout_seconds: float) -> Iterator[Outcome]:
    """Measure every task in worker processes; yield outcomes as they come, one per task, whatever happens to it.

    Closing the iterator early (a termination, say) kills the workers that are busy.
    """
    if not tasks:
        return
    pending: dict[Future, Task] = {
        schedule(measure_task, task, pool=pool, timeout_seconds=timeout_seconds): task for task in tasks
    }
    try:
        for future in as_completed(pending):
            yield outcome_of(pending[future], future, pool, timeout_seconds)
    finally:
        for future in pending:
            future.cancel()


def call(work: Callable[..., Any], *args: Any, pool: PoolSpec, timeout_seconds: float, about: str | None = None) -> Any:
    """Run a function in a worker under the same bounds. Raises what it raises, and `MediaError` if the worker dies.

    The function and its arguments must be importable and picklable. about: what a `MediaError` names; default the path
    of the first argument, a `Task`.
    """
    named = args[0].path if about is None else about
    future = schedule(work, *args, pool=pool, timeout_seconds=timeout_seconds)
    try:
        return result_of(named, future, pool, timeout_seconds)
    finally:
        future.cancel()


def schedule(work: Callable[..., Any], *args: Any, pool: PoolSpec, timeout_seconds: float) -> Future:
    """Have a worker run a function when it comes to it; the clock runs from then on. Both must be importable and
    picklable, like what it returns."""
    future: Future = _pool(pool).schedule(work, args=args, timeout=timeout_seconds)
    return future


def result_of(path: str, future: Future, pool: PoolSpec, timeout_seconds: float) -> Any:
    """What a finished future returned. Raises `MediaError` where its worker had no time or no life left."""
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        raise _overtime(path, timeout_seconds) from None
    except ProcessExpired as expired:
        raise _death(path, expired.exitcode, pool.memory_mb) from None


def outcome_of(task: Task, future: Future, pool: PoolSpec, timeout_seconds: float) -> Any:
    """What a finished future returned, or the outcome of a task whose worker had no time or no life left."""
    try:
        return result_of(task.path, future, pool, timeout_seconds)
    except MediaError as dead:
        error = dead
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
        return out_of_memory(path, memory_mb)
    code = exit_code or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Crashed(
        f"the worker died of {how} while it had {path}",
        allowed="a video that decodes without bringing its decoder down",
        try_="run again, since the machine may have been short of memory; then re-encode the video",
    )


def _pool(spec: PoolSpec) -> Any:
    """A pool of that kind, kept between shards so that imports and models are paid for once."""
    from pebble import ProcessPool

    with _pools_lock:
        pool = next((pool for kind, pool in _pools.items() if kind.serves(spec) and pool.active), None)
        if pool is None:
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
    keep_freed_memory(beside_model=bool(spec.models))
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


def keep_freed_memory(*, beside_model: bool) -> None:
    """Have glibc keep what is freed for the next picture. It would give large pieces back to the kernel and get them
    again zeroed, page by page: 15 % of the time of a flow at 720p, 10 % of a text detector's.

    beside_model: keep no piece of more than 64 MB, which a text detector's layers have at 360 lines. They are of all
    sizes, and pieces that fit none of the next ones lie idle: 2.3 GB more at 1440 lines.
    """
    mallopt = getattr(_c_library(), "mallopt", None)  # absent from other C libraries
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        most = 2**26 if beside_model else 2**30
        if mallopt(m_mmap_threshold, most) or mallopt(m_mmap_threshold, 2**25):  # old ones take no more than this
            mallopt(m_trim_threshold, 2**28 if beside_model else 2**30)


def _give_back_freed_memory() -> None:
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _c_library() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _watch_memory(memory_mb: int) -> None:
    """End this process where it holds more. What is kept for later is given back first, above half of that."""
    trimmed_at = float("-inf")
    while True:
        resident = resident_mb()
        now = time.monotonic()
        if resident > memory_mb / 2 and now - trimmed_at > TRIM_SECONDS:
            _give_back_freed_memory()
            trimmed_at = now
            resident = resident_mb()
        if resident > memory_mb:
            os._exit(EXIT_OUT_OF_MEMORY)
        time.sleep(WATCHDOG_SECONDS)


def resident_mb() -> float:
    """Resident memory of this process in MB; its peak where the system does not tell the present figure."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return peak_mb()


def _preload(spec: MeasureSpec, threads: int) -> None:
    """Load a model while no video's clock runs. A fault is kept for the first task, which can tell of it."""
    try:
        model_of(spec)
    except Exception:
        logging.getLogger(__name__).debug("model of %s not loaded", spec.operator, exc_info=True)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
