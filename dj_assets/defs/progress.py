"""Progress of a pass: into Dagster's event log every few seconds, and to whoever listens in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dj_assets.measure import Progress

Listener = Callable[["Progress"], None]

LOG_EVERY_SECONDS = 5.0
RUN_DIGITS = 8

# Dagster builds assets and resources anew for each run, so a listener cannot be handed to them as an argument.
_listener: ContextVar[Listener | None] = ContextVar("dj_assets_progress_listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Send every `Progress` of passes that run in this context to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def progress_text(progress: Progress) -> str:
    """One line: videos done, rate, time left, undecided so far, e.g.
    `cpu: 120 of 1000 videos, 95 per minute, 9 min 16 s left, 3 undecided`."""
    parts = [f"{progress.pass_name}: {progress.done} of {progress.total} videos"]
    if progress.done and progress.seconds > 0:
        parts.append(f"{60 * progress.done / progress.seconds:.0f} per minute")
        left_seconds = progress.seconds / progress.done * (progress.total - progress.done)
        parts.append(f"{seconds_text(left_seconds)} left")
    parts.append(f"{progress.undecided} undecided")
    return ", ".join(parts)


def seconds_text(seconds: float) -> str:
    """A duration for people: `42 s`, `9 min 16 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class ShardLog:
    """A run's log in which every line says whose it is: `recipe=clips shard=ds-00000 run=1a2b3c4d cpu: 3 of 9 …`."""

    def __init__(self, log: Any, *, recipe: str, shard: str, run_id: str) -> None:
        self._log = log
        self._whose = f"recipe={recipe} shard={shard} run={run_id[:RUN_DIGITS]}"

    def info(self, message: str) -> None:
        self._log.info(f"{self._whose} {message}")

    def warning(self, message: str) -> None:
        self._log.warning(f"{self._whose} {message}")


class ProgressLog:
    """What a pass calls after each video: forwards always, writes to the log at most every few seconds.

    num_videos: videos done so far.
    """

    def __init__(self, log: Any, *, every_seconds: float = LOG_EVERY_SECONDS) -> None:
        self._log = log
        self._every_seconds = every_seconds
        self._listener = _listener.get()
        self._logged_at_seconds = time.monotonic()
        self.num_videos = 0

    def __call__(self, progress: Progress) -> None:
        self.num_videos = progress.done
        if self._listener is not None:
            self._listener(progress)
        now_seconds = time.monotonic()
        if now_seconds - self._logged_at_seconds >= self._every_seconds:
            self._logged_at_seconds = now_seconds
            self._log.info(progress_text(progress))
