"""Worker processes, pools, executor and instance, as the environment and the recipe ask for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dj_assets import machine
from dj_assets.defs import project, resources
from dj_assets.defs.resources import (
    CpuEngine,
    GpuEngine,
    project_executor,
    project_instance,
    project_resources,
    set_pool_limits,
)
from dj_assets.errors import RecipeError
from dj_assets.recipe import Recipe, Settings


def recipe(*, np: int | None = None, workers: int | None = None) -> Recipe:
    return Recipe(
        name="clips",
        file="clips.yaml",
        sha256="",
        dataset_path=Path("ds.jsonl"),
        export_path=Path("res.jsonl"),
        steps=(),
        settings=Settings(workers=workers),
        np=np or 4,
        places={"np": ("clips.yaml", 1)} if np else {},
    )


@pytest.mark.parametrize(
    ("cores", "np", "workers", "expected"),
    [
        pytest.param(8, None, None, 8, id="one for each core unless asked otherwise"),
        pytest.param(8, 4, None, 4, id="np, as in Data-Juicer"),
        pytest.param(2, 4, None, 2, id="np capped by the machine"),
        pytest.param(8, 4, 6, 6, id="workers overrule np"),
        pytest.param(2, 4, 6, 2, id="workers capped by the machine"),
    ],
)
def test_cpu_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, np: int | None, workers: int | None, expected: int
) -> None:
    monkeypatch.setattr(machine, "available_mb", lambda: 64_000.0)
    assert CpuEngine(workers=cores).workers_for(recipe(np=np, workers=workers)) == expected


@pytest.mark.parametrize(
    ("machine", "workers", "expected"),
    [
        pytest.param(1, None, 1, id="one model unless asked otherwise"),
        pytest.param(1, 8, 1, id="a recipe cannot load more models than the machine allows"),
        pytest.param(4, None, 4, id="the machine allows four"),
        pytest.param(4, 2, 2, id="the recipe wants fewer"),
    ],
)
def test_gpu_workers(machine: int, workers: int | None, expected: int) -> None:
    assert GpuEngine(workers=machine).workers_for(recipe(workers=workers)) == expected


def test_resources_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DJ_ASSETS_STORE", str(tmp_path / "here"))
    monkeypatch.setenv("DJ_ASSETS_CPU_WORKERS", "3")
    monkeypatch.setenv("DJ_ASSETS_GPU_WORKERS", "2")
    found = project_resources()
    assert found["store"].open().root == tmp_path / "here"
    assert (found["cpu"].workers, found["gpu"].workers) == (3, 2)


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_a_count_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("DJ_ASSETS_CPU_WORKERS", given)
    with pytest.raises(RecipeError, match="DJ_ASSETS_CPU_WORKERS"):
        project_resources(Path("store"))


@pytest.mark.parametrize(
    ("given", "name"), [("", "in_process"), ("in_process", "in_process"), ("multiprocess", "multiprocess")]
)
def test_the_executor_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch, given: str, name: str) -> None:
    monkeypatch.setenv("DJ_ASSETS_EXECUTOR", given)
    assert project_executor().name == name


def test_an_unknown_executor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJ_ASSETS_EXECUTOR", "celery")
    with pytest.raises(RecipeError, match="in_process, multiprocess"):
        project_executor()


def test_pool_limits_are_set_once_and_a_limit_set_by_hand_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DJ_ASSETS_GPU_SLOTS", raising=False)
    monkeypatch.setenv("DJ_ASSETS_CPU_SLOTS", "3")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert dict(set_pool_limits(instance)) == {"gpu": 1, "cpu": 3}
        instance.event_log_storage.set_concurrency_slots("gpu", 4)
        assert dict(set_pool_limits(instance)) == {"gpu": 4, "cpu": 3}
        monkeypatch.setenv("DJ_ASSETS_GPU_SLOTS", "2")
        assert dict(set_pool_limits(instance)) == {"gpu": 2, "cpu": 3}
        limits = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
    assert limits == {"gpu": 2, "cpu": 3}


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, 2)])
def test_two_cpu_passes_at_once_are_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, expected: int
) -> None:
    """Each has a worker for every core: with as many passes as cores, 64 cores had 64 × 64 workers to serve."""
    monkeypatch.delenv("DJ_ASSETS_CPU_SLOTS", raising=False)
    monkeypatch.setattr(resources, "num_cores", lambda: cores)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert set_pool_limits(instance)["cpu"] == expected


def test_a_recipe_that_asks_for_nothing_gets_what_the_machine_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJ_ASSETS_CPU_WORKERS", raising=False)
    monkeypatch.setattr(project, "num_cores", lambda: 16)
    monkeypatch.setattr(machine, "available_mb", lambda: 12_000.0)
    assert project.cpu_workers(recipe()) == 5, "6000 MB for each of two passes"
    assert project.cpu_workers(recipe(workers=12)) == 12
    monkeypatch.setenv("DJ_ASSETS_CPU_WORKERS", "3")
    assert project.cpu_workers(recipe(workers=12)) == 3


def test_without_any_setting_the_instance_is_kept_in_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    for added in (["a"], ["b"]):
        with project_instance() as instance:
            assert Path(os.environ["DAGSTER_HOME"]) == tmp_path / ".dj_assets" / "dagster_home"
            instance.add_dynamic_partitions("letters", added)
            letters = instance.get_dynamic_partitions("letters")
            assert not instance.telemetry_enabled
    assert letters == ["a", "b"]
    assert "DAGSTER_HOME" not in os.environ


def test_a_dagster_yaml_in_the_working_directory_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("dagster.yaml").write_text("storage: {sqlite: {base_dir: kept_here}}\n", encoding="utf-8")
    with project_instance() as instance:
        assert Path(os.environ["DAGSTER_HOME"]) == tmp_path
        instance.add_dynamic_partitions("letters", ["a"])
    assert (tmp_path / "kept_here").is_dir()


KILLED_WHILE_MAKING_ITS_DATABASES = """
import os, signal
from dagster._core.storage.event_log.sqlite import sqlite_event_log as log
from dj_assets.defs.resources import project_instance

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

log.{moment} = killed
with project_instance():
    pass
"""


@pytest.mark.parametrize("moment", ["stamp_alembic_rev", "create_engine", "SqlEventLogStorageMetadata.create_all"])
def test_an_instance_whose_making_was_killed_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    """One of a hundred killed runs left databases without the table of partitions, and no run could ever follow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    script = KILLED_WHILE_MAKING_ITS_DATABASES.replace("{moment}", moment)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGKILL
    for _ in range(2):
        with project_instance() as instance:
            instance.add_dynamic_partitions("clips_shards", ["ds-00000"])
            assert instance.get_dynamic_partitions("clips_shards") == ["ds-00000"]


def test_an_instance_that_was_used_is_never_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By somebody who does not go by our lock and mark: Dagster's own commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with project_instance() as instance:
        run_id = instance.create_run_for_job(dg.job(name="nothing")(lambda: None)).run_id
        instance.report_engine_event("seen", run_id=run_id, job_name="nothing")
    (tmp_path / ".dj_assets" / "dagster_home" / ".making_databases").touch()
    with project_instance() as instance:
        assert instance.has_run(run_id)


def test_a_dagster_home_that_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match="nowhere"):
        project.dagster_home()
