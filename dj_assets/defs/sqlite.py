"""Dagster's SQLite storage with connections that last: what a command that makes many short runs uses.

Dagster opens a connection for each of the few hundred statements of a run, and closes it again, upon which SQLite
writes its log back into the database and waits for the disk. With one shard's numbers all known, that was a quarter of
the run on a quiet machine, and most of it on a slow disk. Files and tables are Dagster's own, so every other process
reads and writes the same instance as ever.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

if TYPE_CHECKING:
    from dagster import EventLogEntry
    from dagster._core.instance.ref import InstanceRef
    from sqlalchemy.engine import Connection, Engine

MOST_RUN_DATABASES = 4
"""Open at a time; each run has one of its own."""

PAUSE_SECONDS = 0.2
"""Between two looks at a database that another process is making: to turn its log on SQLite wants it alone, and does
not wait for that."""


def with_lasting_connections(ref: InstanceRef) -> InstanceRef:
    """The same instance, opened with `LastingSqliteStorage` where its storage is Dagster's SQLite; else as it is."""
    data = ref.storage_data
    if data is None or data.class_name != DagsterSqliteStorage.__name__:
        return ref
    lasting = ConfigurableClassData(__name__, LastingSqliteStorage.__name__, data.config_yaml)
    return ref._replace(storage_data=lasting)


class LastingSqliteStorage(DagsterSqliteStorage):
    """What `storage: sqlite` of a dagster.yaml stands for, but for how connections are kept."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._run_storage = LastingRuns(self._run_storage._conn_string)
        self._event_log_storage = LastingEventLog(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> LastingSqliteStorage:
        return cls.from_local(inst_data=inst_data, **config_value)


class LastingEventLog(SqliteEventLogStorage):
    """The event log: a database for each run, and one of what all runs made."""

    def __init__(self, base_dir: str) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        self._lock = threading.RLock()
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                # Where it is, Dagster would load its ninety migrations, and then do nothing.
                if not _is_made_in_the_end(engine):
                    self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            self._engines[shard] = _engine(self.conn_string_for_shard(shard))
        self._engines.move_to_end(shard)
        runs = [name for name in self._engines if name != INDEX_SHARD_NAME]
        for name in runs[:-MOST_RUN_DATABASES]:
            self._engines.pop(name).dispose()
        return self._engines[shard]

    def store_event(self, event: EventLogEntry) -> None:
        """The web interface looks for new events of a run when the database's own file changes, as it does at Dagster's
        own connections when they close; here it is SQLite's log beside it that grows."""
        super().store_event(event)
        with suppress(OSError):
            os.utime(self.path_for_shard(event.run_id))

    def has_table(self, table_name: str) -> bool:
        """Asked hundreds of times in a run; a table that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def wipe(self) -> None:
        self._forget()
        super().wipe()

    def dispose(self) -> None:
        super().dispose()
        self._forget()

    def _forget(self) -> None:
        with self._lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()
            self._tables.clear()


class LastingRuns(SqliteRunStorage):
    """The database of runs."""

    def __init__(self, conn_string: str) -> None:
        self._lasting = _engine(conn_string)
        super().__init__(conn_string)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._lasting.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        super().dispose()
        self._lasting.dispose()


def _is_made_in_the_end(engine: Engine) -> bool:
    """Whether a database has its tables, once no other process is just making it."""
    deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT_SECONDS
    while True:
        try:
            return _is_made(engine)
        except OperationalError as error:
            if "database is locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _is_made(engine: Engine) -> bool:
    """Whether a database has its tables: alembic's mark is written after them."""
    with engine.connect() as connection:
        if not engine.dialect.has_table(connection, "alembic_version"):
            return False
        return connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() > 0


def _engine(conn_string: str) -> Engine:
    """An engine that keeps a connection, for whichever thread asks: one at a time has it."""
    engine = create_engine(
        conn_string,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _wait_for_the_disk_less)
    return engine


def _wait_for_the_disk_less(connection: Any, _: Any) -> None:
    """Sync when the log is written back rather than with each event. A process that dies loses nothing so; a machine
    that loses its power may lose the last events of what it was just doing, never the database. Tables and facts are
    in the store, which syncs by itself."""
    # Dagster says so, too, but only after it has made some sixty tables and indices, and synced each.
    [mode] = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode == "wal":  # a file system without shared memory has none, and there the database itself would be at risk
        connection.execute("PRAGMA synchronous=NORMAL")
