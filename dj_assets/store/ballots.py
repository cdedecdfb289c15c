"""What the shards of a recipe bring to its steps over the whole dataset, and what was last settled from that.

tables/<recipe>/ballots/<shard>.parquet    one line per sample: the verdict on it alone, and its papers
tables/<recipe>/ballots/settled.json       shard -> version of its verdicts as they were last written
tables/<recipe>/ballots/<step>.json        which papers of a step were found to be related, so as not to ask again
tables/<recipe>/ballots/.lock              held by whoever settles or exports

All of it follows from the shards' other tables: it can be deleted, and is made again when its shards are decided again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from dj_assets.errors import StoreError
from dj_assets.store import files
from dj_assets.store.rows import Ballot, Relations, Verdict
from dj_assets.store.schemas import BALLOTS, VERDICTS, ballot_of, verdict_of

SETTLED = "settled.json"
REMEMBERED_SHARDS = 1024
"""Ballots that a process keeps in memory: one that runs shard after shard reads each once."""

_SLIM = tuple(column.name for column in BALLOTS.columns if column.name == "sample_id" or column.number > 60)


def read(path: Path) -> tuple[tuple[Ballot, ...], str] | None:
    """(ballots, code version) of one shard; None where there are none, or the file is damaged. Raises `StoreError`."""
    try:
        facts = path.stat()
        return _read(path, facts.st_ino, facts.st_mtime_ns, facts.st_size)
    except (FileNotFoundError, files.Damaged):
        return None
    except OSError as error:
        raise _unusable(path.parent, error) from error


@lru_cache(maxsize=REMEMBERED_SHARDS)
def _read(path: Path, inode: int, modified_ns: int, num_bytes: int) -> tuple[tuple[Ballot, ...], str]:
    """Of a file that is replaced whole, never changed."""
    found, origin = files.read_table_and_origin(path, BALLOTS, columns=_SLIM)
    return tuple(ballot_of(record) for record in BALLOTS.unpack(found)), origin.code_version


def read_alone(path: Path) -> list[Verdict]:
    """The verdicts on a shard's samples alone. Raises OSError, or `Damaged`."""
    return [verdict_of(record) for record in VERDICTS.unpack(files.read_table(path, VERDICTS))]


def read_settled(folder: Path) -> dict[str, str]:
    """shard -> version of its verdicts; of no shard where the file is not there or not readable: then all is settled
    anew."""
    try:
        found = json.loads((folder / SETTLED).read_text(encoding="utf-8"))
        return {str(shard): str(version) for shard, version in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_settled(folder: Path, versions: Mapping[str, str]) -> None:
    """Replace what was settled. Raises `StoreError`."""
    text = json.dumps(dict(sorted(versions.items())), indent=0)

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    files.write_atomically(folder / SETTLED, write)


def recall_relations(folder: Path, step_key: str, relation_id: str) -> Relations:
    """What was related before; nothing where that was by another rule, is not there, or not readable."""
    try:
        found = json.loads(_relations_path(folder, step_key).read_text(encoding="utf-8"))
        if found["relation_id"] != relation_id:
            return Relations()
        return Relations(tuple(found["papers"]), tuple((int(a), int(b), float(w)) for a, b, w in found["pairs"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Relations()


def remember_relations(folder: Path, step_key: str, relation_id: str, relations: Relations) -> None:
    """Replace what is known to be related. Raises `StoreError`."""
    text = json.dumps({"relation_id": relation_id, "papers": relations.papers, "pairs": relations.pairs})

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    files.write_atomically(_relations_path(folder, step_key), write)


def _relations_path(folder: Path, step_key: str) -> Path:
    return folder / f"{files.part(step_key, what='step')}.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Settle alone, whatever other processes and threads do. Raises `StoreError` where the disk has no locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot settle in {folder}: {error}",
        allowed="a folder that this user may read and write, on a file system that has locks",
        try_="mend the rights of the folder, or name another store",
    )
