"""Housekeeping: what can be removed or merged without losing anything; found first, told, and done only then.

Safe while runs are writing, and when killed: a file goes only when another one holds what it held, when its writer is
dead, or when someone has asked for exactly that.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Literal

from dj_assets.errors import StoreError
from dj_assets.store import facts as facts_log
from dj_assets.store import files, index, lineage
from dj_assets.store import products as mapped
from dj_assets.store.schemas import restored

log = logging.getLogger(__name__)

TARGET_BYTES = 128 * 2**20
"""Size at which a facts file is large enough: about a million facts with ten window values each."""

Kind = Literal["temporary", "superseded", "ledger", "table", "facts", "product"]


@dataclass(frozen=True)
class Removal:
    """A file that can go, and why. modified_ns: its time of change when found; a file replaced since then stays."""

    kind: Kind
    path: Path
    num_bytes: int
    modified_ns: int
    reason: str


@dataclass(frozen=True)
class Merge:
    """Files of one measure that can become one, in the order of their making."""

    operator: str
    measure_id: str
    paths: tuple[Path, ...]
    num_bytes: int


@dataclass(frozen=True)
class Chores:
    """What housekeeping would do."""

    removals: tuple[Removal, ...] = ()
    merges: tuple[Merge, ...] = ()


@dataclass(frozen=True)
class InUse:
    """What a recipe of today uses. shards: None where the dataset cannot be seen now, and every shard stays."""

    steps: frozenset[str]
    shards: frozenset[str] | None


@dataclass(frozen=True)
class Done:
    """What housekeeping did. kept: what could not be removed or merged, with the reason."""

    removed: int
    freed_bytes: int
    merged: int
    kept: tuple[str, ...] = ()


def find_chores(
    root: Path,
    *,
    keep_days: float | None = None,
    in_use: Mapping[str, InUse] | None = None,
    facts_of: Sequence[str] = (),
    products: bool = False,
) -> Chores:
    """What there is to do in a store. Changes nothing.

    keep_days: ledger records older than this may go, but for the newest one of each table that is there; None: all
    stay. in_use: recipe name -> what it uses; tables of anything else may go; None: all stay. facts_of: measures, by
    id or `operator/id`, whose facts may go. products: files that mappers made and that no sample of any recipe holds
    may go. Raises `StoreError` for a measure that the store does not hold.
    """
    measures = sorted(path for path in (root / "measures").glob("*/*/") if path.is_dir())
    unwanted = _named(measures, facts_of)
    removals = chain(
        _temporaries(root),
        *(_superseded(folder) for folder in measures if folder not in unwanted),
        *(_facts(folder) for folder in unwanted),
        _ledger(root, keep_days) if keep_days is not None else (),
        _tables(root, in_use) if in_use is not None else (),
        _products(root, measures) if products else (),
    )
    merges = (merge for folder in measures if folder not in unwanted for merge in _merges(folder))
    return Chores(tuple(removals), tuple(merges))


def do(root: Path, chores: Chores) -> Done:
    """Do what `find_chores` found. What cannot be done is told in the result and left for the next time."""
    kept: list[str] = []
    removed = freed = merged = 0
    for removal in chores.removals:
        try:
            gone = _remove_superseded(removal) if removal.kind == "superseded" else _remove_unchanged(removal)
        except OSError as error:
            kept.append(f"{removal.path}: {error}")
            continue
        removed += gone
        freed += removal.num_bytes if gone else 0
    inside = {removal.path.parent for removal in chores.removals if removal.kind not in ("superseded", "product")}
    _remove_empty(root, inside)
    for merge in chores.merges:
        try:
            facts_log.compact(root, merge.operator, merge.measure_id, merge.paths)
            merged += len(merge.paths)
        except StoreError as error:
            kept.append(error.one_line())
    return Done(removed, freed, merged, tuple(kept))


def _remove_superseded(removal: Removal) -> bool:
    """By the rules of the facts log, which looks again whether the file that took it over is there."""
    facts_log.remove_superseded(removal.path.parent)
    return not removal.path.exists()


def _remove_unchanged(removal: Removal) -> bool:
    try:
        if removal.path.stat().st_mtime_ns != removal.modified_ns:
            return False
        removal.path.unlink()
    except FileNotFoundError:
        return False
    return True


def _remove_empty(root: Path, folders: Collection[Path]) -> None:
    """Folders that nothing is left in, and those above them. A writer makes its folder again."""
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        while folder.parent != root and folder != root:
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent


# --- what can go ------------------------------------------------------------------------------------------------------


def _removal(kind: Kind, path: Path, reason: str, *, older_than_seconds: float = 0.0) -> Iterator[Removal]:
    """One removal; none where the file is gone or younger."""
    try:
        stat = path.stat()
    except OSError:
        return
    if time.time() - stat.st_mtime >= older_than_seconds:
        yield Removal(kind, path, stat.st_size, stat.st_mtime_ns, reason)


def _temporaries(root: Path) -> Iterator[Removal]:
    for path in files.temporaries(root):
        yield from _removal(
            "temporary", path, "left by a writer that was killed", older_than_seconds=files.ORPHAN_SECONDS
        )


def _superseded(folder: Path) -> Iterator[Removal]:
    for note, old_files in facts_log.expired(folder):
        for old in old_files:
            yield from _removal("superseded", old, f"its facts are in {note.stem}.parquet")
        if not old_files:
            yield from _removal("temporary", note, "left by a compaction that was killed")


def _facts(folder: Path) -> Iterator[Removal]:
    reason = f"facts of {folder.parent.name} {folder.name}, as asked"
    for path in sorted(folder.iterdir()):
        if path.suffix in (".parquet", facts_log.SUPERSEDED, ".json", ".damaged"):
            yield from _removal("facts", path, reason)


def _named(measures: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """Folders of measures that people name. Raises `StoreError` for a name that means none, or several."""
    found = []
    for name in names:
        matches = [folder for folder in measures if name in (folder.name, f"{folder.parent.name}/{folder.name}")]
        if len(matches) != 1:
            known = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in measures) or "none"
            raise StoreError(
                f"{len(matches)} measures of the store are {name!r}",
                allowed=f"one of: {known}",
                try_="name it as operator/id",
            )
        found.extend(matches)
    return found


def _ledger(root: Path, keep_days: float) -> Iterator[Removal]:
    """Records of what has been replaced or is gone since; what says where today's tables come from stays."""
    records = []
    for path in sorted((root / "ledger").glob("*/*.json")):
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                records.append((str(record["created_at"]), str(record["path"]), path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("ledger record %s cannot be read and stays: %s", path, error)
    newest = {table: path for _, table, path in sorted(records)}
    current = {path for table, path in newest.items() if (root / table).exists()}
    # By what the record says: a store that was copied has files of today.
    cutoff = (datetime.now(UTC) - timedelta(days=keep_days)).isoformat()
    reason = f"older than {keep_days:g} days, of a table replaced or gone since"
    for path in dict.fromkeys(path for created_at, _, path in records if created_at < cutoff):
        if path not in current:
            yield from _removal("ledger", path, reason)


def _tables(root: Path, in_use: Mapping[str, InUse]) -> Iterator[Removal]:
    """Tables and export parts that no recipe of today uses. A day old: a younger one may be of a run at work."""
    for path in sorted(chain((root / "tables").glob("*/**/*.parquet"), (root / "export").glob("*/*.part"))):
        recipe, *kind = path.relative_to(root).parts[1:-1]
        if reason := _unused(recipe, kind[1] if kind[:1] == ["stats"] else "", path.stem, in_use):
            yield from _removal("table", path, reason, older_than_seconds=files.ORPHAN_SECONDS)


def _unused(recipe: str, step: str, shard: str, in_use: Mapping[str, InUse]) -> str:
    """Why a table is of no use; empty where it is."""
    used = in_use.get(recipe)
    if used is None:
        return f"there is no recipe {recipe}"
    if step and step not in used.steps:
        return f"recipe {recipe} has no step {step}"
    if used.shards is not None and shard not in used.shards:
        return f"the dataset of {recipe} has no shard {shard}"
    return ""


def _products(root: Path, measures: Sequence[Path]) -> Iterator[Removal]:
    """Products that no sample holds any more: of other params, of other bounds, of recipes that are gone. A day old,
    since a run at work writes its samples last; and as they were made, since another file is somebody else's."""
    held: set[str] | None = None
    for folder in measures:
        for _, product in mapped.listed(root, folder.parent.name, folder.name):
            held = _held(root) if held is None else held
            path = Path(product.path)
            if product.path in held:
                continue
            held.add(product.path)  # a product that was made again is kept twice in the facts log
            reason = f"made by {folder.parent.name}, and no sample holds it"
            for removal in _removal("product", path, reason, older_than_seconds=files.ORPHAN_SECONDS):
                if (removal.num_bytes, removal.modified_ns) == (product.num_bytes, product.modified_ns):
                    yield removal


def _held(root: Path) -> set[str]:
    """Paths of every product and every video that a sample of any recipe holds. Raises `StoreError`."""
    import duckdb

    samples = index.select(root, "samples")
    sql = f"SELECT unnest(made).path FROM ({samples}) UNION SELECT unnest(videos).path FROM ({samples})"
    try:
        with index.opened(root) as connection:
            return {restored(path) for (path,) in connection.execute(sql).fetchall() if path}
    except duckdb.Error as error:
        raise lineage.unreadable(error) from error


# --- what can be merged -----------------------------------------------------------------------------------------------


def _merges(folder: Path) -> Iterator[Merge]:
    """Small files of one measure, oldest first, in batches of about `TARGET_BYTES`."""
    taken_over = facts_log.superseded(folder)
    batch: list[Path] = []
    num_bytes = 0
    for _, size, path in sorted(_sizes(path for path in folder.glob("*.parquet") if path.name not in taken_over)):
        if size >= TARGET_BYTES / 2:
            continue
        batch.append(path)
        num_bytes += size
        if num_bytes >= TARGET_BYTES:
            yield from _merge(folder, batch, num_bytes)
            batch, num_bytes = [], 0
    yield from _merge(folder, batch, num_bytes)


def _merge(folder: Path, paths: Sequence[Path], num_bytes: int) -> Iterator[Merge]:
    if len(paths) > 1:
        yield Merge(folder.parent.name, folder.name, tuple(paths), num_bytes)


def _sizes(paths: Iterator[Path]) -> Iterator[tuple[int, int, Path]]:
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        yield stat.st_mtime_ns, stat.st_size, path
