"""Runs whose process was killed: found, marked as failed, and their pool slots given back.

Nobody looks after a run that a command executes in its own process. Of the runs that the daemon launched, the code
server notices when one dies, but nobody does when the code server goes too, or the machine. Such a run would stay
"started", keep its slot in pool `gpu`, and let every later run wait for ever without a word.
"""

from __future__ import annotations

import fcntl
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import dagster as dg

HOST_TAG = "dj_assets/host"
ALIVE_TAG = "dj_assets/alive"

OLD_SECONDS = 3600.0
"""A younger file may be one that its process has made and not locked yet."""

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@contextmanager
def sign_of_life(folder: Path) -> Iterator[dict[str, str]]:
    """Hold a lock for as long as this process lives; the kernel drops it at any death, where a process id could be
    somebody else's by then. Yields the tags that tell other processes on this host where to look."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield {HOST_TAG: socket.gethostname(), ALIVE_TAG: str(path.absolute())}
        finally:
            path.unlink(missing_ok=True)


def show_life(instance: dg.DagsterInstance, run: dg.DagsterRun, folder: Path) -> None:
    """Tag a run that this very process executes, once, with a sign of life that lasts as long as the process."""
    if _sign_of(run) is not None or run.run_id in _shown:
        return
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old_signs(folder)
    path = folder / f"{run.run_id}.lock"
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    _shown[run.run_id] = file
    instance.add_run_tags(run.run_id, {HOST_TAG: socket.gethostname(), ALIVE_TAG: str(path.absolute())})


_shown: dict[str, IO[str]] = {}


def _remove_old_signs(folder: Path) -> None:
    """A process that ends in its own time leaves its file, which says no more then than one that is not there."""
    for path in folder.glob("*.lock"):
        try:
            is_old = time.time() - path.stat().st_mtime > OLD_SECONDS
        except FileNotFoundError:
            continue
        if is_old and not _is_alive(path):
            path.unlink(missing_ok=True)


def free_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail every unfinished run of this host whose process is gone, and free its slots. Returns the run ids."""
    unfinished = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED, tags={HOST_TAG: socket.gethostname()}))
    signs = {run.run_id: sign for run in unfinished if (sign := _sign_of(run)) is not None}
    gone = [run for run in unfinished if run.run_id in signs and not _is_alive(signs[run.run_id])]
    for run in gone:
        instance.report_run_failed(run, "The process of this run ended without a word (killed, or out of memory).")
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        signs[run.run_id].unlink(missing_ok=True)
    return [run.run_id for run in gone]


def _sign_of(run: dg.DagsterRun) -> Path | None:
    """The lock that a run's process holds; None where it has none yet. A run that repeats another one has inherited
    the tags of that, dead process and all."""
    path = Path(run.tags[ALIVE_TAG]) if run.tags.get(ALIVE_TAG) else None
    is_inherited = path is not None and run.parent_run_id is not None and path.stem != run.run_id
    return None if is_inherited else path


def _is_alive(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
