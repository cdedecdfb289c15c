"""stats.duckdb: views over the record files, for people and their tools; can be deleted and made again.

The index holds no rows, so nothing is lost with it. A new one is built beside the old and renamed over it:
readers keep the file that they opened, never wait, and never make a run wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dj_assets.samples import Video
from dj_assets.store import ledger
from dj_assets.store.files import set_aside, temporary_beside
from dj_assets.store.schemas import FACTS, SAMPLES, SQL_TYPES, STATS, VERDICTS, Table

log = logging.getLogger(__name__)

FILE_NAME = "stats.duckdb"
STORAGE_VERSION = "v1.4.0"
"""DuckDB 2.0 writes files that 1.x cannot open unless told to; 1.4 is the oldest that we support."""

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class View:
    """One view. pattern: glob, relative to the store, of the files that it reads. columns: name -> meaning.
    sql: its SELECT, in which {files} stands for the glob as an SQL literal."""

    name: str
    doc: str
    pattern: str
    columns: Mapping[str, str]
    sql: str

    def select(self, root: Path) -> str:
        """The SELECT over one store. Absolute, so that a client may sit in any folder."""
        return self.sql.replace("{files}", _literal(f"{_no_glob(str(root))}/{self.pattern}"))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _no_glob(path: str) -> str:
    """A path that matches itself alone, whatever characters its folders are named with."""
    return "".join(f"[{char}]" if char in "[*?" else char for char in path)


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _parquet(table: Table) -> str:
    """SELECT over files of one table, columns found by field id.

    The schema is given instead of read. A union by name would open every file before the query does, which is slow for
    thousands, fails for one that is replaced in between, and gives NULL instead of a column's default where an older
    file lacks it. Hive partitioning is off: a folder `a=b` above the store is no column.
    """
    schema = ", ".join(
        f"{column.number}: {{name: {_literal(column.name)}, type: {_literal(SQL_TYPES[column.kind])}, "
        f"default_value: {_default(column.default)}}}"
        for column in table.columns
    )
    return (
        f"SELECT {_names([column.name for column in table.columns])} "
        f"FROM read_parquet({{files}}, schema = MAP {{{schema}}}, hive_partitioning = false)"
    )


def _default(value: Any) -> str:
    """A default as an SQL literal; always text or NULL, because the values of a MAP are of one type."""
    if value is None:
        return "NULL"
    return _literal("[]" if value == () else str(value))


def _docs(table: Table) -> dict[str, str]:
    return {column.name: column.doc for column in table.columns}


_VIDEO_DOCS = {
    "field": "manifest field that lists it",
    "position": "index in that field",
    "given": "the path as the manifest spells it",
    "path": "absolute path; empty where it cannot be one",
    "content_hash": "BLAKE2b-128 of the file's bytes, hex; empty where it was not read",
    "num_bytes": "size of the file",
    "modified_ns": "its time of change, ns since 1970",
    "status": "ok, or why no operator can measure it",
    "reason": "the same in words",
}
_VIDEO_FIELDS = tuple(Video.__dataclass_fields__)
_LEDGER_TYPES = ", ".join(f"{_literal(name)}: {_literal(sql_type)}" for name, (sql_type, _) in ledger.COLUMNS.items())

VIEWS: tuple[View, ...] = (
    View("samples", SAMPLES.doc, "tables/*/samples/*.parquet", _docs(SAMPLES), _parquet(SAMPLES)),
    View(
        "videos",
        "One line per video that a sample lists.",
        "tables/*/samples/*.parquet",
        {**{name: _docs(SAMPLES)[name] for name in ("recipe", "shard", "sample_id")}, **_VIDEO_DOCS},
        f"SELECT recipe, shard, sample_id, {', '.join(f'video.{name} AS {name}' for name in _VIDEO_FIELDS)} "
        f"FROM (SELECT recipe, shard, sample_id, unnest(videos) AS video FROM ({_parquet(SAMPLES)}))",
    ),
    View("stats", STATS.doc, "tables/*/stats/*/*.parquet", _docs(STATS), _parquet(STATS)),
    View("verdicts", VERDICTS.doc, "tables/*/verdicts/*.parquet", _docs(VERDICTS), _parquet(VERDICTS)),
    View(
        "facts",
        "What is known of each video: the newest number per content, measure and stat, or else failure.",
        "measures/*/*/*.parquet",
        _docs(FACTS),
        f"SELECT {_names([column.name for column in FACTS.columns])} FROM ({_parquet(FACTS)}) "
        "QUALIFY row_number() OVER (PARTITION BY content_hash, measure_id, stat "
        "ORDER BY (status = 'ok') DESC, measured_at DESC) = 1",
    ),
    View(
        "facts_log",
        "Every line ever added about a video, repeated measurements included.",
        "measures/*/*/*.parquet",
        _docs(FACTS),
        _parquet(FACTS),
    ),
    View(
        "materializations",
        "The ledger: one line per table file ever written.",
        "ledger/*/*.json",
        {name: doc for name, (_, doc) in ledger.COLUMNS.items()},
        f"SELECT {_names(list(ledger.COLUMNS))} FROM read_json({{files}}, format = 'newline_delimited', "
        f"columns = {{{_LEDGER_TYPES}}})",
    ),
)


def refresh(root: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> str | None:
    """Make the index show every kind of file that exists. Nothing is opened where it does already.

    Returns what went wrong, or None: a broken or locked index must never cost a run its result.
    """
    index = _Index(root)
    if index.is_current():
        return None
    import duckdb

    try:
        with _locked(index.lock, patience_seconds):
            # Asked again, because whoever held the lock may have done it, and may have seen newer files.
            return None if index.is_current() else index.renew()
    except TimeoutError:
        return f"{index.path} was not renewed: {index.lock.name} has been held for {patience_seconds:g} s"
    except (OSError, duckdb.Error) as error:
        return f"{index.path} was not renewed: {_one_line(error)}"


@contextmanager
def _locked(lock: Path, patience_seconds: float) -> Iterator[None]:
    """Hold the side lock; the system drops it if we die. Raises TimeoutError."""
    give_up = time.monotonic() + patience_seconds
    with lock.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise TimeoutError from None
                time.sleep(POLL_SECONDS)
        yield


class _Index:
    """The index file of one store, its side lock, and the stamp in the lock file that says what was built when."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / FILE_NAME
        self.lock = root / f"{FILE_NAME}.lock"

    def views(self) -> list[View]:
        """Views that have files to read; DuckDB refuses a glob that matches nothing."""
        return [view for view in VIEWS if next(self.root.glob(view.pattern), None) is not None]

    def is_current(self) -> bool:
        """Whether there is nothing to show, or the file as it lies there is the one built for these views."""
        views = self.views()
        try:
            return not views or json.loads(self.lock.read_text(encoding="utf-8")) == self.stamp(views)
        except (OSError, ValueError):
            return False

    def stamp(self, views: Sequence[View]) -> dict[str, Any]:
        """What the lock file says when the index shows these views."""
        digest = hashlib.sha256("\n".join(view.select(self.root) for view in views).encode()).hexdigest()
        file = self.path.stat()
        return {"views": digest, "file": [file.st_ino, file.st_size, file.st_mtime_ns]}

    def renew(self) -> str | None:
        """Build the index anew; the lock is held. Returns a warning, or None."""
        state, detail = _inspect(self.path)
        if state == "in use":
            return f"{self.path} was not renewed, a client holds it open: {detail}"
        warning = None
        if state == "broken" and (aside := set_aside(self.path)):
            warning = f"{self.path} was damaged ({detail}); set aside as {aside.name} and built again"
        views = self.views()
        fresh = temporary_beside(self.path)
        try:
            _build(fresh, self.root, views)
            # A log that a killed client left belongs to the old file and would spoil the new one.
            self.path.with_name(f"{FILE_NAME}.wal").unlink(missing_ok=True)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
            fresh.with_name(f"{fresh.name}.wal").unlink(missing_ok=True)
        self.lock.write_text(json.dumps(self.stamp(views)), encoding="utf-8")
        return warning


def _inspect(path: Path) -> tuple[Literal["absent", "sound", "in use", "broken"], str]:
    """What lies at the index's place. Opened for reading, so that other readers may stay."""
    import duckdb

    if not path.exists():
        return "absent", ""
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH {_literal(str(path))} AS old (TYPE duckdb, READ_ONLY)")
        connection.execute("SELECT view_name FROM duckdb_views() WHERE database_name = 'old'").fetchall()
    except duckdb.Error as error:
        text = _one_line(error)
        # One exception class serves both; a held lock speaks of "conflicting lock" or "file handle conflict".
        return ("in use" if "conflict" in text.lower() else "broken"), text
    finally:
        connection.close()
    return "sound", ""


def _build(path: Path, root: Path, views: Sequence[View]) -> None:
    """Write a new index. Raises `duckdb.Error`."""
    import duckdb

    connection = duckdb.connect()
    try:
        # With its TYPE given, as with the `duckdb:` prefix, a header is read after the lock (docs/adr/0001).
        connection.execute(
            f"ATTACH {_literal(str(path))} AS new (TYPE duckdb, STORAGE_VERSION {_literal(STORAGE_VERSION)})"
        )
        connection.execute("BEGIN")
        for view in views:
            connection.execute(f'CREATE VIEW new."{view.name}" AS {view.select(root)}')
            connection.execute(f'COMMENT ON VIEW new."{view.name}" IS {_literal(view.doc)}')
            for name, doc in view.columns.items():
                connection.execute(f'COMMENT ON COLUMN new."{view.name}"."{name}" IS {_literal(doc)}')
        connection.execute("COMMIT")
        connection.execute("DETACH new")
    finally:
        connection.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
