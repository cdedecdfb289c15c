"""Dagster's SQLite storage with lasting connections: few are opened, others see the same instance, nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import Engine, event

from dj_assets.defs.jobs import run_recipe
from dj_assets.defs.resources import project_instance
from dj_assets.defs.sqlite import (
    MOST_RUN_DATABASES,
    LastingEventLog,
    LastingSqliteStorage,
    _wait_for_the_disk_less,
    with_lasting_connections,
)
from dj_assets_tests.defs.small_project import DURATION, FakeMeasure, make_test_plan, write_manifest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return tmp_path


@pytest.fixture
def opened() -> Iterator[Counter[str]]:
    """Connections to SQLite databases by file name, as they are opened."""
    counts: Counter[str] = Counter()

    def count(connection: object, _: object) -> None:
        rows = connection.execute("PRAGMA database_list").fetchall()  # type: ignore[attr-defined]
        counts[Path(rows[0][2]).name] += 1

    event.listen(Engine, "connect", count)
    yield counts
    event.remove(Engine, "connect", count)


def run_shards(folder: Path, instance: dg.DagsterInstance, *, shards: int) -> list[str]:
    """The ids of their runs."""
    write_manifest(folder, shards)
    plan = make_test_plan(folder, shard_size=1, steps={DURATION: {"min_duration": 1}})
    report = run_recipe(plan, instance=instance, store_root=folder / "store")
    assert report.success, report.failed
    return [shard.run_id for shard in report.shards]


def test_a_run_opens_each_database_a_few_times_not_hundreds(
    home: Path, fake_measure: FakeMeasure, opened: Counter[str]
) -> None:
    """A run of five assets used to open 150 connections and to close them, each time waiting for the disk."""
    with project_instance() as instance:
        opened.clear()
        runs = run_shards(home, instance, shards=2)
    assert len(runs) == 2
    assert max(opened.values()) <= 3, opened
    assert all(opened[f"{run_id}.db"] for run_id in runs)


def test_who_uses_dagsters_own_storage_meanwhile_sees_the_same_events(home: Path, fake_measure: FakeMeasure) -> None:
    """The webserver, say. It writes, too."""
    with project_instance() as instance:
        [run_id] = run_shards(home, instance, shards=1)
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home / ".dj_assets" / "dagster_home"))) as plain:
            seen, told = ([one.message for one in each.all_logs(run_id)] for each in (plain, instance))
            assert plain.get_run_by_id(run_id).status == dg.DagsterRunStatus.SUCCESS
            plain.add_dynamic_partitions("others", ["a"])
        assert seen == told and len(seen) > 30
        assert instance.get_dynamic_partitions("others") == ["a"]


def test_few_databases_of_runs_stay_open(home: Path, fake_measure: FakeMeasure) -> None:
    def is_open(path: str) -> bool:
        return any(os.path.realpath(f"/proc/self/fd/{fd}") == path for fd in os.listdir("/proc/self/fd"))  # noqa: PTH208, for the numbers

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    with project_instance() as instance:
        runs = run_shards(home, instance, shards=MOST_RUN_DATABASES + 2)
        folder = home / ".dj_assets" / "dagster_home" / "history" / "runs"
        left = [run_id for run_id in runs if is_open(str(folder / f"{run_id}.db"))]
        assert left == runs[-MOST_RUN_DATABASES:]
    assert not any(is_open(str(folder / f"{run_id}.db")) for run_id in runs), "left open after the instance"


def test_threads_share_it(home: Path) -> None:
    """Dagster asks from threads of its own; SQLite refuses a connection of another thread unless it is told."""
    failures: list[Exception] = []

    def work(instance: dg.DagsterInstance, number: int) -> None:
        try:
            for one in range(10):
                instance.add_dynamic_partitions("shards", [f"{number}-{one}"])
                instance.get_runs_count()
        except Exception as error:
            failures.append(error)

    with project_instance() as instance:
        threads = [threading.Thread(target=work, args=(instance, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(instance.get_dynamic_partitions("shards")) == 60


def test_what_was_written_outlives_a_kill(home: Path) -> None:
    """Without waiting for the disk at each event, a process that is killed must lose none all the same."""
    script = textwrap.dedent(
        """
        import os, signal
        from dj_assets.defs.resources import project_instance
        with project_instance() as instance:
            instance.add_dynamic_partitions("shards", [str(number) for number in range(100)])
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=home, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with project_instance() as instance:
        assert len(instance.get_dynamic_partitions("shards")) == 100


def test_only_dagsters_sqlite_is_replaced(tmp_path: Path) -> None:
    ref = InstanceRef.from_dir(str(tmp_path))
    assert with_lasting_connections(ref).storage_data.class_name == LastingSqliteStorage.__name__
    other = ref._replace(storage_data=ref.storage_data._replace(class_name="DagsterPostgresStorage"))
    assert with_lasting_connections(other) is other


def message(text: str) -> dg.EventLogEntry:
    return dg.EventLogEntry(error_info=None, level=20, user_message=text, run_id="a_run", timestamp=time.time())


def test_who_watches_a_run_is_told_of_each_event(tmp_path: Path) -> None:
    """As the web interface does: Dagster's own storage, waiting for the file to change."""
    writer, watcher = LastingEventLog(str(tmp_path)), SqliteEventLogStorage(str(tmp_path))
    told: list[str] = []
    try:
        writer.store_event(message("first"))
        watcher.watch("a_run", None, lambda entry, _: told.append(entry.user_message))
        writer.store_event(message("second"))
        deadline = time.monotonic() + 10
        while "second" not in told and time.monotonic() < deadline:
            time.sleep(0.02)
        assert told == ["first", "second"]  # not after the end, when a last connection that closes writes to the file
    finally:
        watcher.dispose()
        writer.dispose()


def test_a_database_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    log = LastingEventLog(str(tmp_path))
    maker = sqlite3.connect(tmp_path / "a_run.db", check_same_thread=False, isolation_level=None)
    maker.execute("CREATE TABLE one (a)")
    maker.execute("BEGIN IMMEDIATE")  # for which SQLite does not wait when another one wants to turn its log on
    timer = threading.Timer(0.5, maker.execute, ["COMMIT"])
    timer.start()
    try:
        log.store_event(message("first"))
        assert [record.event_log_entry.user_message for record in log.get_records_for_run("a_run").records] == ["first"]
    finally:
        timer.join()
        maker.close()
        log.dispose()


def test_without_a_log_beside_it_a_database_is_synced_as_ever() -> None:
    """In memory SQLite has no such log, as on a file system without shared memory."""
    connection = sqlite3.connect(":memory:")
    before = connection.execute("PRAGMA synchronous").fetchone()
    _wait_for_the_disk_less(connection, None)
    assert connection.execute("PRAGMA synchronous").fetchone() == before
