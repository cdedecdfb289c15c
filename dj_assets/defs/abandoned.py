"""Runs of a command line whose process was killed: found, marked as failed, and their pool slots given back.

The daemon looks after runs that it launched. A run that a command executes in its own process has nobody: killed, it
would stay "started", keep its slot in pool `gpu`, and let every later run wait for ever without a word.
"""

from __future__ import annotations

import fcntl
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

HOST_TAG = "dj_assets/host"
ALIVE_TAG = "dj_assets/alive"

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


def free_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail every unfinished run of this host whose process is gone, and free its slots. Returns the run ids."""
    unfinished = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED, tags={HOST_TAG: socket.gethostname()}))
    gone = [run for run in unfinished if not _is_alive(Path(run.tags.get(ALIVE_TAG, "")))]
    for run in gone:
        instance.report_run_failed(run, "The process of this run ended without a word (killed, or out of memory).")
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        Path(run.tags[ALIVE_TAG]).unlink(missing_ok=True)
    return [run.run_id for run in gone]


def _is_alive(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
