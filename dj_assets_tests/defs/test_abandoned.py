"""Regression: a `dj-assets process` that was killed kept its slot in pool `gpu`, and the next one waited for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from dj_assets.defs.abandoned import OLD_SECONDS, free_abandoned_runs, show_life, sign_of_life

HOLD_AND_WAIT = """
import json, sys
from pathlib import Path
from dj_assets.defs.abandoned import sign_of_life
with sign_of_life(Path(sys.argv[1])) as tags:
    print(json.dumps(tags), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds its sign of life until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_WAIT, str(tmp_path / "running")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def kept_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


def started_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    """A run that is under way and holds the only slot of pool `gpu`."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.event_log_storage.set_concurrency_slots("gpu", 1)
    instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "step")
    return run.run_id


SHOW_LIFE_AND_WAIT = """
import sys
from pathlib import Path
import dagster as dg
from dj_assets.defs.abandoned import show_life
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    show_life(instance, instance.get_run_by_id(sys.argv[2]), Path(sys.argv[3]))
    print("shown", flush=True)
    sys.stdin.read()
"""


def holders(instance: dg.DagsterInstance) -> list[str]:
    return [slot.run_id for slot in instance.event_log_storage.get_concurrency_info("gpu").claimed_slots]


def test_a_killed_process_loses_its_run_and_its_slot(
    other: subprocess.Popen[str], kept_instance: dg.DagsterInstance
) -> None:
    assert other.stdout is not None
    run_id = started_run(kept_instance, json.loads(other.stdout.readline()))

    assert free_abandoned_runs(kept_instance) == []
    assert holders(kept_instance) == [run_id]

    other.kill()
    other.wait()
    assert free_abandoned_runs(kept_instance) == [run_id]
    assert holders(kept_instance) == []
    run = kept_instance.get_run_by_id(run_id)
    assert run is not None and run.status == dg.DagsterRunStatus.FAILURE
    assert free_abandoned_runs(kept_instance) == []


def test_runs_of_other_hosts_and_of_the_daemon_are_left_alone(
    kept_instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with sign_of_life(tmp_path / "running") as tags:
        pass
    started_run(kept_instance, {**tags, "dj_assets/host": "elsewhere"})
    started_run(kept_instance, {})
    assert free_abandoned_runs(kept_instance) == []


def test_a_run_of_the_daemon_shows_life_too_and_its_repetition_is_not_taken_for_dead(
    kept_instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Killed together with its code server, it stayed "started" for ever. A repetition has the tags of its parent."""
    run_id = started_run(kept_instance, {})
    asked = [sys.executable, "-c", SHOW_LIFE_AND_WAIT, str(tmp_path / "home"), run_id, str(tmp_path / "running")]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "shown\n"
        assert free_abandoned_runs(kept_instance) == []
        process.kill()
    assert free_abandoned_runs(kept_instance) == [run_id]
    assert holders(kept_instance) == []

    dead = kept_instance.get_run_by_id(run_id)
    assert dead is not None and dead.status == dg.DagsterRunStatus.FAILURE
    inherited = {**dead.tags, "dagster/parent_run_id": run_id, "dagster/root_run_id": run_id}
    repeated = create_run_for_test(
        kept_instance, status=dg.DagsterRunStatus.STARTED, tags=inherited, parent_run_id=run_id, root_run_id=run_id
    )
    assert free_abandoned_runs(kept_instance) == []
    show_life(kept_instance, repeated, tmp_path / "running")
    shown = kept_instance.get_run_by_id(repeated.run_id)
    assert shown is not None and shown.tags["dj_assets/alive"].endswith(f"{repeated.run_id}.lock")


def test_what_ended_runs_leave_is_removed_by_later_ones(
    other: subprocess.Popen[str], kept_instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Each run of the daemon left an empty file in the store, for ever."""
    assert other.stdout is not None
    held = Path(json.loads(other.stdout.readline())["dj_assets/alive"])
    folder = tmp_path / "running"
    for name in ("ended", "just-made"):
        (folder / f"{name}.lock").touch()
    long_ago = time.time() - 2 * OLD_SECONDS
    for path in (held, folder / "ended.lock"):
        os.utime(path, (long_ago, long_ago))
    run = create_run_for_test(kept_instance, status=dg.DagsterRunStatus.STARTED)
    show_life(kept_instance, run, folder)
    assert {path.name for path in folder.iterdir()} == {held.name, "just-made.lock", f"{run.run_id}.lock"}
