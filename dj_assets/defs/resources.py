"""What assets need from the machine: the store, worker processes for CPU and GPU, the Dagster instance itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef  # the only way to lay a setting over a dagster.yaml
from pydantic import Field

from dj_assets.defs.project import count_from_environment, cpu_workers, dagster_home, gpu_workers, store_root
from dj_assets.errors import RecipeError
from dj_assets.machine import PASSES_AT_ONCE, num_cores
from dj_assets.recipe import Recipe

if TYPE_CHECKING:
    from dj_assets.store.store import Store

CPU_POOL = "cpu"
GPU_POOL = "gpu"

WITHOUT_LOG_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}
"""Dagster's log capture turns a process's stdout and stderr into files that it follows with `tail`: right for a run
worker, but on a command line it would take the terminal away from the progress bars."""


class StoreResource(dg.ConfigurableResource):
    """The store: every table, verdict and measured fact of a project."""

    root: str = Field(description="folder of the store")

    def open(self) -> Store:
        """The store itself; cheap, since it only names a folder."""
        from dj_assets.store.store import Store

        return Store(Path(self.root))


class CpuEngine(dg.ConfigurableResource):
    """Worker processes of one pass over decoded frames or headers."""

    workers: int = Field(default=0, description="at most so many worker processes per pass; 0: one per core")

    def workers_for(self, recipe: Recipe) -> int:
        """Worker processes for a recipe; see `project.cpu_workers`."""
        return cpu_workers(recipe, most=self.workers)


class GpuEngine(dg.ConfigurableResource):
    """Worker processes of one pass that runs a model. Each holds a model of its own in the GPU's memory."""

    workers: int = Field(default=1, description="worker processes per pass")

    def workers_for(self, recipe: Recipe) -> int:
        """Worker processes for a recipe; never more than it asks for itself."""
        return gpu_workers(recipe, most=self.workers)


def project_resources(root: Path | None = None) -> dict[str, Any]:
    """The resources of every recipe, from the environment. root: of the store; default `store_root()`."""
    return {
        "store": StoreResource(root=str(root or store_root())),
        "cpu": CpuEngine(workers=count_from_environment("DJ_ASSETS_CPU_WORKERS", num_cores())),
        "gpu": GpuEngine(workers=count_from_environment("DJ_ASSETS_GPU_WORKERS", 1)),
    }


IN_PROCESS = "in_process"


def executor_name() -> str:
    """`DJ_ASSETS_EXECUTOR`, as given."""
    return os.environ.get("DJ_ASSETS_EXECUTOR") or IN_PROCESS


def project_executor() -> dg.ExecutorDefinition:
    """How a run's steps are executed: `DJ_ASSETS_EXECUTOR`, `in_process` (default) or `multiprocess`.

    In-process costs 1 s per run and keeps the passes of a shard one after the other. Multiprocess starts a process
    per step (about 3 s each), and lets CPU and GPU passes overlap where `short_circuit` is off.
    """
    wanted = executor_name()
    if wanted == IN_PROCESS:
        return dg.in_process_executor
    if wanted == "multiprocess":
        # Nothing is preloaded: the fork server would otherwise hold torch for runs that only read headers.
        return dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": []}}})
    raise RecipeError(
        f"DJ_ASSETS_EXECUTOR is {wanted!r}", allowed="in_process, multiprocess", try_="unset it for in_process"
    )


def step_retries() -> dg.RetryPolicy | None:
    """A step that has a process of its own is started once more when that dies, or for what nobody foresaw.

    Not where the steps share the run's process: there Dagster would take Ctrl-C and *Terminate* for a reason to retry,
    and a run whose process dies is started once more as a whole.
    """
    return None if executor_name() == IN_PROCESS else dg.RetryPolicy(max_retries=1, delay=10.0)


@contextmanager
def project_instance() -> Iterator[dg.DagsterInstance]:
    """The project's Dagster instance (see `dagster_home`), its pools limited, for runs in this process.

    `DAGSTER_HOME` is set meanwhile, so that what this process starts finds the same instance.
    """
    from dj_assets.defs.sqlite import with_lasting_connections  # and with it alembic, which no definitions need

    home = str(dagster_home())
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = home
    try:
        with ExitStack() as stack:
            with _opened_alone(home):
                ref = with_lasting_connections(InstanceRef.from_dir(home, overrides=WITHOUT_LOG_CAPTURE))
                with _made_whole(home, ref):
                    instance = stack.enter_context(dg.DagsterInstance.from_ref(ref))
                    set_pool_limits(instance)
                    # Each of the three databases is made when it is first asked.
                    instance.get_runs_count()
                    instance.get_dynamic_partitions("")
                    instance.all_instigator_state()
            yield instance
    finally:
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before


@contextmanager
def _opened_alone(home: str) -> Iterator[None]:
    """Hold a lock, which the system drops if we die. Whoever opens a new instance makes its databases, and Dagster
    leaves them broken for good (two heads in `alembic_version`) where two processes do so at the same moment."""
    with Path(home, ".opening.lock").open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _made_whole(home: str, ref: InstanceRef) -> Iterator[None]:
    """Mark a new instance while its SQLite databases are being made; the mark of a dead process says to begin anew.

    Killed in that second, it leaves databases that Dagster takes for complete and that lack tables for good. Nobody
    else has used them: whoever opens the instance holds the lock.
    """
    mark = Path(home, ".making_databases")
    databases = list(_sqlite_files(ref))
    if mark.exists() and not any(_is_of_a_run(path) for path in databases):
        for path in databases:
            path.unlink(missing_ok=True)
    elif databases:
        yield
        return
    mark.touch()
    yield
    mark.unlink(missing_ok=True)


def _sqlite_files(ref: InstanceRef) -> Iterator[Path]:
    """The files of an instance's SQLite databases; none where they are of another kind."""
    for data in (ref.run_storage_data, ref.event_storage_data, ref.schedule_storage_data):
        folder = data.config_dict.get("base_dir") if data is not None else None
        if folder is not None:
            yield from Path(folder).glob("*.db*")


def _is_of_a_run(path: Path) -> bool:
    """A run's events have a file of their own, named after it."""
    return path.name.split(".")[0] not in ("runs", "index", "schedules")


def set_pool_limits(instance: dg.DagsterInstance) -> Mapping[str, int]:
    """Make sure that the pools have their limits, which Dagster keeps in the instance's database, not in a file.

    gpu: 1 pass at a time, `DJ_ASSETS_GPU_SLOTS`. cpu: 2, each with workers of its own, `DJ_ASSETS_CPU_SLOTS`. A limit
    that somebody has set by hand is left alone unless the environment variable says otherwise. Returns the limits that
    now hold.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    by_hand = {limit.name: limit.limit for limit in storage.get_pool_limits() if not limit.from_default}
    limits: dict[str, int] = {}
    for pool, variable, default in (
        (GPU_POOL, "DJ_ASSETS_GPU_SLOTS", 1),
        (CPU_POOL, "DJ_ASSETS_CPU_SLOTS", min(PASSES_AT_ONCE, num_cores())),
    ):
        limits[pool] = count_from_environment(variable, by_hand.get(pool, default))
        if by_hand.get(pool) != limits[pool]:
            storage.set_concurrency_slots(pool, limits[pool])
    return limits
