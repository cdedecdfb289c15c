"""The facts log: what was measured, by content and measure, in files that are added and never changed."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dj_assets.errors import Status, StoreError
from dj_assets.store.files import (
    Damaged,
    open_parquet,
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


def compact(root: Path, operator: str, measure_id: str, paths: Sequence[Path]) -> Path:
    """Put the facts of several files into one new file. Those stay for `GRACE_SECONDS`, for whoever reads them now.

    Meanwhile, or if it is killed half way, the facts are there twice; lookups and the `facts` view pick one of each.
    Raises `StoreError` where none of the files is left.
    """
    import pyarrow as pa

    tables, origins, done = [], [], []
    for path in dict.fromkeys(paths):
        try:
            rows, origin = read_table(path, FACTS), read_provenance(path)
        except FileNotFoundError:
            log.info("%s is compacted already", path)
        except Damaged as error:
            _give_up(error)
        else:
            tables.append(rows)
            origins.append(origin)
            done.append(path)
    if not tables:
        raise StoreError(
            f"none of the {len(paths)} files of {operator} {measure_id} to compact is there",
            allowed="files that append_facts returned and that were not compacted before",
            try_="nothing: if they were compacted before, their facts are in another file of the same folder",
        )
    if len(done) == 1:
        return done[0]
    merged = _by_content(pa.concat_tables(tables))
    folder = folder_of(root, operator, measure_id)
    target = _new_file(folder)
    write_table(target, FACTS, merged, replace(origins[0], rows=merged.num_rows))
    note = target.with_suffix(SUPERSEDED)
    write_atomically(note, lambda temporary: _write_names(temporary, done))
    remove_superseded(folder)
    return target


def _write_names(path: Path, superseded: Sequence[Path]) -> None:
    path.write_text("".join(f"{old.name}\n" for old in superseded), encoding="utf-8")


def remove_superseded(folder: Path) -> list[Path]:
    """Remove the files of one measure that were compacted long enough ago. Returns what went."""
    removed = []
    for note in folder.glob(f"*{SUPERSEDED}"):
        try:
            if time.time() - note.stat().st_mtime < GRACE_SECONDS:
                continue
            for name in note.read_text(encoding="utf-8").splitlines():
                old = folder / part(name, what="file")
                old.unlink(missing_ok=True)
                removed.append(old)
            note.unlink(missing_ok=True)
        except (OSError, StoreError) as error:
            log.warning("what %s lists is left where it is: %s", note, error)
    return removed


def find(root: Path, operator: str, measure_id: str, content_hashes: Collection[str]) -> dict[str, tuple[Fact, ...]]:
    """The facts of some videos that still hold, by content hash, one per stat in the order they were added.

    A measured number goes before a failure, the newer before the older. Files that cannot be read are set
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
    return found


def _precedence(fact: Fact) -> tuple[bool, str]:
    return fact.status == "ok", fact.measured_at


def _matching(folder: Path, content_hashes: Collection[str]) -> Iterator[Fact]:
    import pyarrow as pa

    wanted = pa.array(sorted(content_hashes), type=pa.string())
    seen: set[Path] = set()
    for _ in range(LISTINGS if len(wanted) else 0):
        # A file that vanishes between listing and reading was compacted into one that the next listing shows.
        new = [path for path in sorted(folder.glob("*.parquet")) if path not in seen]
        if not new:
            return
        seen.update(new)
        for path in new:
            for record in _records(path, wanted):
                if record["status"] in CONTENT_STATUSES:
                    yield fact_of(record)


def _records(path: Path, wanted: pa.Array) -> list[dict]:
    """Rows of one file about the wanted videos: hashes are read first, the rest only where one matches.

    Not one query over the folder: a single damaged file would fail it. docs/adr/0001 has the times of both.
    """
    import pyarrow.compute as pc

    records: list[dict] = []
    try:
        with open_parquet(path) as file:
            for group in range(file.num_row_groups):
                hashes = file.read_row_group(group, columns=["content_hash"], use_threads=False)
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


def _give_up(error: Damaged) -> None:
    try:
        aside = set_aside(error.path)
    except OSError as refusal:
        log.warning("%s, and cannot be set aside: %s", error.given, refusal)
        return
    log.warning("%s; set aside as %s, its facts may be measured again", error.given, aside)


def _by_content(rows: pa.Table) -> pa.Table:
    """Sorted by content hash, so that a reader who wants one video skips row groups.

    By Python's sort, which keeps the order of a video's stats; Arrow's does not promise to.
    """
    hashes = rows.column("content_hash").to_pylist()
    return rows.take(sorted(range(len(hashes)), key=hashes.__getitem__))


def _new_file(folder: Path) -> Path:
    return folder / f"{uuid.uuid4().hex}.parquet"
