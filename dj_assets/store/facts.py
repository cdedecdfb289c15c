"""The facts log: what was measured, by content and measure, in files that are added and never changed."""

from __future__ import annotations

import fcntl
import logging
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dj_assets.errors import Status, StoreError
from dj_assets.store.files import (
    ORPHAN_SECONDS,
    Damaged,
    finish,
    open_parquet,
    open_writer,
    part,
    read_provenance,
    read_table,
    set_aside,
    write_atomically,
    write_table,
)
from dj_assets.store.rows import Fact, Provenance
from dj_assets.store.schemas import FACTS, fact_of, fact_record

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

CONTENT_STATUSES: frozenset[Status] = frozenset({"ok", "unreadable", "no_video_stream", "too_short"})
"""Statuses that follow from the bytes of the video alone, and so hold wherever it is met again. The others
depend on the machine, the limits or the path, and may pass next time."""

SUPERSEDED = ".superseded"
GRACE_SECONDS = 600.0
"""How long compacted files stay. DuckDB lists a folder first and opens its files later; were they removed at once, a
client that reads the `facts` view during a run would often be told "No such file"."""

GROUP_ROWS = 8192
"""Rows of a row group of a compacted file: a lookup reads the hashes of all groups, and those with a hit whole."""

LISTINGS = 5
"""How often to look for files that appeared while reading; another process has to compact for each round."""


def folder_of(root: Path, operator: str, measure_id: str) -> Path:
    """Where the facts of one measure lie."""
    return root / "measures" / part(operator, what="operator") / part(measure_id, what="measure id")


def append(root: Path, facts: Sequence[Fact], provenance: Provenance) -> list[Path]:
    """Add facts, one new file per measure, in order of first appearance.

    Raises `StoreError` where the disk refuses; ValueError for a fact that nobody could look up (no content
    hash) or that depends on the recipe (`skipped`).
    """
    measures: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        if not fact.content_hash or fact.status == "skipped":
            raise ValueError(f"not a fact about content: {fact}")
        measures.setdefault((fact.operator, fact.measure_id), []).append(fact)
    paths = []
    for (operator, measure_id), group in measures.items():
        path = _new_file(folder_of(root, operator, measure_id))
        place = {"run_id": provenance.run_id, "versions": provenance.versions}
        origin = replace(provenance, code_version=measure_id, rows=len(group))
        write_table(path, FACTS, FACTS.pack(fact_record(fact, place) for fact in group), origin)
        paths.append(path)
    return paths


def compact(root: Path, operator: str, measure_id: str, paths: Sequence[Path]) -> Path | None:
    """Put the facts of several files into one new file. Those stay for `GRACE_SECONDS`, for whoever reads them now.

    Rows keep their order, so that videos measured together lie together: they are asked for together again, and a
    lookup then reads one row group whole. Sorted by hash, each of a shard's videos would be in another one.
    Killed at any moment, it leaves the old files or the new one in force. Files that are compacted already are left
    out: None where nothing is left of them, which is no fault of a run whose chunks `gc` has put together meanwhile.
    Raises `StoreError` where the disk refuses, or no file can be read.
    """
    folder = folder_of(root, operator, measure_id)
    if not folder.is_dir():
        return None
    with _locked(folder):
        successors = superseded(folder)
        left = [path for path in dict.fromkeys(paths) if path.name not in successors and path.exists()]
        known = [folder / successors[path.name] for path in paths if path.name in successors]
        if len(left) < 2:
            return next(iter([*left, *known]), None)
        target = _new_file(folder)
        write_atomically(target, lambda temporary: _merge(left, temporary, target))
    remove_superseded(folder)
    return target


def _merge(paths: Sequence[Path], temporary: Path, target: Path) -> None:
    """Write the facts of `paths` to `temporary`, and then the note that gives them up once `target` is in its place."""
    origins: list[Provenance] = []
    done: list[Path] = []
    num_rows = 0
    with open_writer(temporary, FACTS, group_rows=GROUP_ROWS) as writer:
        for group in _regrouped(_readable(paths, done, origins), GROUP_ROWS):
            writer.write_table(group, row_group_size=GROUP_ROWS)
            num_rows += group.num_rows
        if not origins:
            raise StoreError(
                f"none of {len(paths)} files in {paths[0].parent} can be read",
                allowed="files that append_facts returned",
                try_="look at the disk; what is damaged was set aside, and will be measured again",
            )
        finish(writer, FACTS, replace(origins[0], rows=num_rows))
    write_atomically(target.with_suffix(SUPERSEDED), lambda note: _write_names(note, done))


def _readable(paths: Sequence[Path], done: list[Path], origins: list[Provenance]) -> Iterator[pa.Table]:
    """The facts of each file that can be read. done, origins: grow by the files that were."""
    for path in paths:
        try:
            rows, origin = read_table(path, FACTS), read_provenance(path)
        except FileNotFoundError:
            log.info("%s is gone", path)
        except Damaged as error:
            _give_up(error)
        else:
            done.append(path)
            origins.append(origin)
            yield rows


def _regrouped(tables: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `num_rows` or a multiple of it, the last one shorter."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        count = sum(piece.num_rows for piece in waiting)
        if count >= num_rows:
            joined = pa.concat_tables(waiting)
            whole = count - count % num_rows
            yield joined.slice(0, whole)
            waiting = [joined.slice(whole)]
    if rest := [piece for piece in waiting if piece.num_rows]:
        yield pa.concat_tables(rest)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a measure's folder against other compactions; the system lets go if we die. Raises `StoreError`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise StoreError(
            f"cannot lock {folder}: {error}",
            allowed="a folder that this user may read, on a file system that has locks",
            try_="mend the rights of the folder, or keep the store on a local disk",
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _write_names(path: Path, old_files: Sequence[Path]) -> None:
    path.write_text("".join(f"{old.name}\n" for old in old_files), encoding="utf-8")


def superseded(folder: Path) -> dict[str, str]:
    """Names of files of one measure whose facts are in another one, and the name of that.

    A note is written before the file that it speaks for is put in place: without that file it means nothing.
    """
    names: dict[str, str] = {}
    for note in folder.glob(f"*{SUPERSEDED}"):
        target = note.with_suffix(".parquet")
        try:
            if target.exists():
                names.update(dict.fromkeys(note.read_text(encoding="utf-8").splitlines(), target.name))
        except OSError as error:
            log.debug("%s says nothing: %s", note, error)
    return names


def expired(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Notes of one measure that nobody needs any more, each with the files that it gives up.

    In an order: a file may only go after those that it had stood for, or they would be taken for the only ones left.
    """
    successors = superseded(folder)

    def takeovers_since(note: Path) -> int:
        name, count = note.with_suffix(".parquet").name, 0
        while name in successors:
            name, count = successors[name], count + 1
        return count

    for note in sorted(folder.glob(f"*{SUPERSEDED}"), key=takeovers_since, reverse=True):
        try:
            age_seconds = time.time() - note.stat().st_mtime
            if note.with_suffix(".parquet").exists():
                if age_seconds >= GRACE_SECONDS:
                    names = note.read_text(encoding="utf-8").splitlines()
                    yield note, [folder / part(name, what="file") for name in names]
            elif age_seconds >= ORPHAN_SECONDS:
                yield note, []
        except (OSError, StoreError) as error:
            log.warning("what %s lists is left where it is: %s", note, error)


def remove_superseded(folder: Path) -> list[Path]:
    """Remove the files of one measure that were compacted long enough ago. Returns what went."""
    removed = []
    for note, old_files in expired(folder):
        try:
            for old in old_files:
                if old.exists():
                    old.unlink(missing_ok=True)
                    removed.append(old)
            note.unlink(missing_ok=True)
        except OSError as error:
            log.warning("what %s lists is left where it is: %s", note, error)
            break
    return removed


def find(
    root: Path,
    operator: str,
    measure_id: str,
    content_hashes: Collection[str],
    but_not_statuses: Collection[Status] = (),
) -> dict[str, tuple[Fact, ...]]:
    """The facts of some videos that still hold, by content hash, one per stat in the order they were added.

    A measured number goes before a failure, the newer before the older. but_not_statuses: videos whose answer is one
    of these are left out, for whoever wants to measure them again. Files that cannot be read are set
    aside with a warning: what was in them will be measured again.
    """
    best: dict[tuple[str, str], Fact] = {}
    for fact in _matching(folder_of(root, operator, measure_id), content_hashes):
        key = (fact.content_hash, fact.stat)
        if key not in best or _precedence(fact) > _precedence(best[key]):
            best[key] = fact
    found: dict[str, tuple[Fact, ...]] = {}
    for (content_hash, _), fact in best.items():
        found[content_hash] = (*found.get(content_hash, ()), fact)
    refused = {content_hash for (content_hash, _), fact in best.items() if fact.status in but_not_statuses}
    return {content_hash: facts for content_hash, facts in found.items() if content_hash not in refused}


def contents_of_run(root: Path, operator: str, measure_id: str, run_id: str) -> set[str]:
    """Hashes of the videos of which one run measured this. A file that cannot be read is left out with a warning."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for path in sorted(folder_of(root, operator, measure_id).glob("*.parquet")):
        try:
            with open_parquet(path) as file:
                rows = file.read(columns=["content_hash", "run_id"], use_threads=False)
        except FileNotFoundError:
            continue  # compacted meanwhile, which takes as long as a run of its own
        except (Damaged, OSError) as error:
            log.warning("what run %s measured in %s is not known: %s", run_id, path, error)
            continue
        found.update(rows.filter(pc.equal(rows.column("run_id"), run_id)).column("content_hash").to_pylist())
    return found


def every(root: Path, operator: str, measure_id: str, *, stat_prefix: str) -> Iterator[Fact]:
    """Every fact under one measure whose stat begins so, repeated ones included. Files that cannot be read are left
    out with a warning; of a measure with other stats no more than those are read."""
    import pyarrow.compute as pc

    folder = folder_of(root, operator, measure_id)
    for name in _names(folder):
        try:
            with open_parquet(folder / name) as file:
                stats = file.read(columns=["stat"], use_threads=False).column(0)
                if not pc.any(pc.starts_with(stats, stat_prefix)).as_py():
                    continue
            rows = read_table(folder / name, FACTS)
        except FileNotFoundError:
            continue
        except (Damaged, OSError) as error:
            log.warning("what %s holds is not known: %s", folder / name, error)
            continue
        for record in FACTS.unpack(rows.filter(pc.starts_with(rows.column("stat"), stat_prefix))):
            yield fact_of(record)


def _precedence(fact: Fact) -> tuple[bool, str]:
    return fact.status == "ok", fact.measured_at


def _matching(folder: Path, content_hashes: Collection[str]) -> Iterator[Fact]:
    import pyarrow as pa

    wanted = pa.array(sorted(content_hashes), type=pa.string())
    seen: set[str] = set()
    for _ in range(LISTINGS if len(wanted) else 0):
        # A file that vanishes between listing and reading was compacted into one that the next listing shows. Notes are
        # read before the listing, which then shows every file that they speak for.
        given_up = superseded(folder)
        new = [name for name in _names(folder) if name not in seen and name not in given_up]
        if not new:
            return
        seen.update(new)
        for name in new:
            for record in _records(folder / name, wanted):
                if record["status"] in CONTENT_STATUSES:
                    yield fact_of(record)


def _names(folder: Path) -> list[str]:
    """Names of a measure's files, sorted; none where nothing was ever measured. Names, since paths cost ten times as
    much to make and to sort, and a folder may hold thousands."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".parquet"))  # noqa: PTH208, for the names
    except FileNotFoundError:
        return []


def _records(path: Path, wanted: pa.Array) -> list[dict]:
    """Rows of one file about the wanted videos: hashes are read first, the rest only where one matches.

    Not one query over the folder: a single damaged file would fail it. docs/adr/0001 has the times of both.
    """
    import pyarrow.compute as pc

    if _small_files.lack(path, wanted):
        return []
    records: list[dict] = []
    try:
        with open_parquet(path) as file:
            for group in range(file.num_row_groups):
                hashes = file.read_row_group(group, columns=["content_hash"], use_threads=False)
                if file.num_row_groups == 1:
                    _small_files.remember(path, hashes.column(0))
                mask = pc.is_in(hashes.column(0), value_set=wanted)
                if pc.any(mask).as_py():
                    rows = file.read_row_group(group, use_threads=False).filter(mask)
                    records.extend(FACTS.unpack(rows))
    except FileNotFoundError:
        return []
    except Damaged as error:
        _give_up(error)
        return []
    except OSError as error:
        log.warning("facts in %s cannot be read and may be measured again: %s", path, error)
        return []
    return records


MOST_HASHES = 1_000_000
"""Kept in this process, 36 bytes each, of files of one row group."""


class _SmallFiles:
    """Which videos small files are about, read once in a process.

    A run over a thousand shards asks for each of them, and until they are compacted there is a file per shard and
    measure: without this it would open a million files. A file never changes, and one that is compacted away is not
    listed any more, so nothing here can be out of date.
    """

    def __init__(self) -> None:
        self._hashes: dict[Path, pa.ChunkedArray] = {}
        self._count = 0

    def remember(self, path: Path, hashes: pa.ChunkedArray) -> None:
        if path in self._hashes:
            return
        if self._count + len(hashes) > MOST_HASHES:
            self._hashes.clear()
            self._count = 0
        self._count += len(hashes)
        self._hashes[path] = hashes

    def lack(self, path: Path, wanted: pa.Array) -> bool:
        """Whether a file is known to be about none of the wanted videos."""
        import pyarrow.compute as pc

        hashes = self._hashes.get(path)
        return hashes is not None and not pc.any(pc.is_in(hashes, value_set=wanted)).as_py()


_small_files = _SmallFiles()


def _give_up(error: Damaged) -> None:
    try:
        aside = set_aside(error.path)
    except OSError as refusal:
        log.warning("%s, and cannot be set aside: %s", error.given, refusal)
        return
    log.warning("%s; set aside as %s, its facts may be measured again", error.given, aside)


def _new_file(folder: Path) -> Path:
    return folder / f"{uuid.uuid4().hex}.parquet"
