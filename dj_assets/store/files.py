"""Record files: Parquet, written beside and renamed into place, with provenance in their own metadata."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dj_assets.errors import StoreError
from dj_assets.store.rows import Provenance
from dj_assets.store.schemas import Table

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

METADATA_KEY = b"dj_assets"
BLOOM_FALSE_POSITIVES = 0.01
ROW_GROUP_ROWS = 32_768
"""Rows of a row group: what a lookup holds in memory at once."""

ORPHAN_SECONDS = 24 * 3600.0
"""A temporary file this old has no writer any more."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,149}")
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp(\.wal)?")


def part(name: str, *, what: str) -> str:
    """A name that may become part of a path. Raises `StoreError` for any other."""
    if not _PART.fullmatch(name) or ".." in name:
        raise StoreError(
            f"{what} {name!r} cannot be a file name",
            allowed="1 to 150 of A-Z a-z 0-9 . _ -, not starting with . or -, without ..",
            try_=f"rename the {what}",
        )
    return name


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a file beside `path`, then put it in place whole.

    Killed at any moment, or failing, it leaves the old file or the new one. Raises `StoreError` where the
    disk refuses.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        put_in_place(temporary, path)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error}",
            allowed="a writable folder with free space",
            try_="free some space or mend the rights of the folder, then run again; what is written is kept",
        ) from error
    finally:
        with suppress(NotADirectoryError):  # a file stands where the folder should; that is said already
            temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file of the same folder its name, for good: synced first, the folder after. Raises OSError."""
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def temporary_beside(path: Path) -> Path:
    """A new name in the same folder, so that a rename is one step, that no glob of record files matches."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_table(path: Path, table: Table, rows: pa.Table, provenance: Provenance) -> None:
    """Write one record file. rows: in `table`'s schema. Raises `StoreError`."""
    import pyarrow.parquet as pq

    rows = rows.replace_schema_metadata({METADATA_KEY: _about(table, provenance)})

    def write(temporary: Path) -> None:
        pq.write_table(rows, temporary, row_group_size=ROW_GROUP_ROWS, **_encoding(table))

    write_atomically(path, write)


@contextmanager
def open_writer(path: Path, table: Table, *, group_rows: int) -> Iterator[Any]:
    """A `ParquetWriter` for a record file too large to hold; `finish` it, and put `path` in place, yourself.

    Each row group, of at most `group_rows`, gets a Bloom filter of its hashes, by which DuckDB skips it unread.
    """
    import pyarrow.parquet as pq

    blooms = {"content_hash": {"ndv": group_rows, "fpp": BLOOM_FALSE_POSITIVES}}
    with pq.ParquetWriter(path, table.arrow, bloom_filter_options=blooms, **_encoding(table)) as writer:
        yield writer


def finish(writer: Any, table: Table, provenance: Provenance) -> None:
    """Say what the file of `open_writer` holds, once that is known."""
    writer.add_key_value_metadata({METADATA_KEY: _about(table, provenance)})


def _about(table: Table, provenance: Provenance) -> bytes:
    about = {"table": table.name, "schema_version": table.version, "provenance": asdict(provenance)}
    return json.dumps(about).encode()


def _encoding(table: Table) -> dict[str, Any]:
    """Hashes and measured numbers do not repeat; a dictionary of them only costs."""
    dictionary = [c.name for c in table.columns if c.kind == "text" and c.name != "content_hash"]
    return {"compression": "zstd", "use_dictionary": dictionary}


class Damaged(StoreError):
    """A record file that is there but cannot be read."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is damaged: {' '.join(why.split())}",
            allowed="a Parquet file that this store wrote",
            try_="materialize it again",
        )
        self.path = path


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """A `ParquetFile`. What fails in the block for its bytes is `Damaged`; a system's error stays one.

    Not `pq.read_table`, which would take `key=value` folders above the store for columns; and not mapped into
    memory, where a file cut short by someone else would end the process.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
            yield file
    except (MemoryError, StoreError):
        raise
    except OSError as error:
        # Arrow raises OSError for broken pages too; only the system's own (missing, no rights) have a number.
        if error.errno is not None:
            raise
        raise Damaged(path, str(error)) from error
    except Exception as error:
        raise Damaged(path, str(error)) from error


def read_table(path: Path, table: Table) -> pa.Table:
    """Read one record file, in today's schema. Raises OSError, or `Damaged` where its bytes are wrong."""
    with open_parquet(path) as file:
        return table.conform(file.read(use_threads=False))


def read_table_and_origin(
    path: Path, table: Table, *, columns: Sequence[str] | None = None
) -> tuple[pa.Table, Provenance]:
    """The same, and what the file says of its own origin, with one look at the file. columns: default all; others then
    have their defaults."""
    with open_parquet(path) as file:
        found = file.read(columns=None if columns is None else list(columns), use_threads=False)
        return table.conform(found), provenance_of(file)


def read_provenance(path: Path) -> Provenance:
    """What a record file says of its own origin. Raises OSError or `Damaged`."""
    with open_parquet(path) as file:
        return provenance_of(file)


def provenance_of(file: Any) -> Provenance:
    """The same of a `ParquetFile` that is open."""
    about: dict[str, Any] = json.loads(file.metadata.metadata[METADATA_KEY])
    known = Provenance.__dataclass_fields__
    return Provenance(**{name: value for name, value in about["provenance"].items() if name in known})


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file so that no glob finds it again; its bytes stay. None where someone else did."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.damaged")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return None
    return aside


def sweep(root: Path, *, older_than_seconds: float = ORPHAN_SECONDS) -> list[Path]:
    """Remove temporary files whose writer was killed. Returns what went."""
    return _without_writer(temporaries(root), older_than_seconds)


def sweep_beside(folder: Path, *, of: str, older_than_seconds: float = ORPHAN_SECONDS) -> list[Path]:
    """The same in a folder that is not the store's alone, and in none below: of temporary files whose names hold `of`.
    Returns what went."""
    try:
        names = os.listdir(folder)  # noqa: PTH208, there may be a million
    except OSError:
        return []
    ours = (folder / name for name in names if of in name and _TEMPORARY.fullmatch(name))
    return _without_writer(ours, older_than_seconds)


def _without_writer(paths: Iterable[Path], older_than_seconds: float) -> list[Path]:
    removed = []
    for path in paths:
        try:
            if time.time() - path.stat().st_mtime > older_than_seconds:
                path.unlink()
                removed.append(path)
        except OSError as error:
            log.debug("left %s where it is: %s", path, error)
    return removed


def temporaries(root: Path) -> Iterator[Path]:
    """Temporary files of writers, at work or dead."""
    for folder, _, names in os.walk(root):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                yield Path(folder, name)
