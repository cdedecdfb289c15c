"""stats.duckdb: views over the record files, for people and their tools; can be deleted and made again.

The index holds no rows, so nothing is lost with it. A new one is built beside the old and renamed over it:
readers keep the file that they opened, never wait, and never make a run wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dj_assets.samples import Made, Video
from dj_assets.store import ledger, measures, probes
from dj_assets.store.files import Damaged, open_parquet, set_aside, temporary_beside
from dj_assets.store.schemas import FACTS, SAMPLES, SQL_TYPES, STATS, VERDICTS, Table

log = logging.getLogger(__name__)

FILE_NAME = "stats.duckdb"
STORAGE_VERSION = "v1.4.0"
"""DuckDB 2.0 writes files that 1.x cannot open unless told to; 1.4 is the oldest that we support."""

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class View:
    """One view.

    patterns: globs, relative to the store, of the files that it reads. columns: name -> meaning.
    sql: its SELECT; {files} in it stands for the globs as an SQL literal, {stats} for the SELECT of view `stats`.
    needs: views that it is built on. Without one of those there is none of it, unless that one has a `stand_in`:
    a SELECT of no rows.
    """

    name: str
    doc: str
    patterns: tuple[str, ...]
    columns: Mapping[str, str]
    sql: str
    needs: tuple[str, ...] = ()
    stand_in: str = ""

    def select(self, root: Path, patterns: Sequence[str] = ()) -> str:
        """The SELECT over one store, or over what these patterns match of it, which must be something.

        Absolute, so that a client may sit in any folder.
        """
        paths = [f"{_no_glob(str(root))}/{pattern}" for pattern in patterns or self.patterns]
        listed = literal(paths[0]) if len(paths) == 1 else f"[{', '.join(map(literal, paths))}]"
        sql = self.sql.replace("{files}", listed)
        for name in self.needs:
            view = BY_NAME[name]
            exists = not view.stand_in or _has_files(root, view)
            sql = sql.replace(f"{{{name}}}", f"({view.select(root) if exists else view.stand_in})")
        return sql


def _has_files(root: Path, view: View) -> bool:
    """Whether a view has files to read; DuckDB refuses a glob that matches nothing."""
    return all(next(root.glob(pattern), None) is not None for pattern in view.patterns)


def literal(text: str) -> str:
    """Text as an SQL literal."""
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
        f"{column.number}: {{name: {literal(column.name)}, type: {literal(SQL_TYPES[column.kind])}, "
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
    return literal("[]" if value == () else str(value))


def _json(columns: Mapping[str, tuple[str, str]], *, layout: str) -> str:
    """SELECT over files of JSON objects. columns: name -> SQL type and meaning. layout: a format of `read_json`."""
    types = ", ".join(f"{literal(name)}: {literal(sql_type)}" for name, (sql_type, _) in columns.items())
    return f"SELECT {_names(list(columns))} FROM read_json({{files}}, format = '{layout}', columns = {{{types}}})"


def _no_rows(columns: Mapping[str, tuple[str, str]]) -> str:
    return (
        "SELECT " + ", ".join(f'NULL::{sql_type} AS "{name}"' for name, (sql_type, _) in columns.items()) + " LIMIT 0"
    )


def _meanings(columns: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {name: meaning for name, (_, meaning) in columns.items()}


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

_LISTED_DOCS = {**{name: _docs(SAMPLES)[name] for name in ("recipe", "shard", "sample_id")}, **_VIDEO_DOCS}
_LISTED_SQL = (
    f"SELECT recipe, shard, sample_id, {', '.join(f'video.{name} AS {name}' for name in _VIDEO_FIELDS)} "
    f"FROM (SELECT recipe, shard, sample_id, unnest(videos) AS video FROM ({_parquet(SAMPLES)}))"
)
_PRODUCT_PLACE = ("recipe", "shard", "sample_id", "parent_recipe", "parent_id", "made_by", "measure_id")
_PRODUCT_DOCS = {
    **{name: _docs(SAMPLES)[name] for name in _PRODUCT_PLACE},
    "path": "absolute path of the product; empty for words",
    "content_hash": "BLAKE2b-128 of its bytes, hex; empty for words",
    "parent_path": "video that it was made of; it may be a product itself, in the rows of parent_recipe",
    "parent_hash": "content of that",
    "begin_seconds": "what it shows of that, from here …",
    "end_seconds": "… to there, the parent's first frame being 0",
    "mapper": "operator that made it",
    "mapper_version": "version of it",
    "params": "its params, canonical",
}
_PRODUCTS_SQL = (
    f"SELECT {', '.join(f's.{name}' for name in _PRODUCT_PLACE)}, "
    f"{', '.join(f'product.{name} AS {name}' for name in Made.__dataclass_fields__)}, "
    "m.operator AS mapper, m.version AS mapper_version, m.params FROM "
    f"(SELECT {', '.join(_PRODUCT_PLACE)}, unnest(made) AS product FROM ({_parquet(SAMPLES)})) s "
    "LEFT JOIN {measures} m USING (measure_id)"
)
_PROBE_TYPES = json.dumps({name: sql_type for name, (sql_type, _) in probes.COLUMNS.items()})
# Two runs may have probed a video at the same time, and a compacted file stays a while beside its successor.
_PROBES_SQL = (
    f"SELECT content_hash, unnest(from_json(said, {literal(_PROBE_TYPES)})) "
    f"FROM (SELECT content_hash, any_value(window_details[1]) AS said FROM ({_parquet(FACTS)}) GROUP BY ALL)"
)
_MEASURED = f"{_parquet(FACTS)} WHERE operator <> {literal(probes.OPERATOR)}"
"""The facts of operators; what videos are has a view of its own."""

_MEASURES = {
    "operator": ("VARCHAR", "operator that measures"),
    "measure_id": ("VARCHAR", "digest of the other columns"),
    "version": ("BIGINT", "version of the operator"),
    "params": ("JSON", "its params, every default spelled out"),
    "device": ("VARCHAR", "where it is computed"),
}

_EXPORTS = {
    "recipe": ("VARCHAR", "recipe that was exported"),
    "path": ("VARCHAR", "the recipe's export_path, absolute"),
    "shards": ("VARCHAR[]", "shards in it, in order"),
    "samples": ("BIGINT", "samples that went in: kept + dropped + set aside"),
    "kept": ("BIGINT", "samples in the main file"),
    "set_aside": ("BIGINT", "undecided samples in the file of the dropped ones"),
    "dropped": ("MAP(VARCHAR, BIGINT)", "step -> samples that it dropped"),
    "undecided": ("MAP(VARCHAR, BIGINT)", "status -> undecided samples, wherever they went"),
    "keeps_undecided": ("BOOLEAN", "whether undecided samples are in the main file"),
    "steps": ("JSON", "operator, version, params, measure id and bounds of each step"),
    "files": (
        "STRUCT(name VARCHAR, file VARCHAR, records BIGINT, num_bytes BIGINT, sha256 VARCHAR)[]",
        "the files that were written",
    ),
    "recipe_sha256": ("VARCHAR", "the recipe's content"),
    "dataset_path": ("VARCHAR", "the dataset"),
    "software": ("VARCHAR", "software that wrote it"),
}
_MANIFEST_TYPES = {
    "export_path": "VARCHAR",
    "recipe": "STRUCT(name VARCHAR, sha256 VARCHAR, content STRUCT(dj_assets STRUCT(on_undecided VARCHAR)))",
    "steps": "JSON",
    "counts": "STRUCT(samples BIGINT, kept BIGINT, set_aside BIGINT, dropped MAP(VARCHAR, BIGINT), "
    "undecided MAP(VARCHAR, BIGINT))",
    "files": _EXPORTS["files"][0],
    "software": "VARCHAR",
    "input": "STRUCT(dataset_path VARCHAR, shards STRUCT(shard VARCHAR)[])",
}
LARGEST_MANIFEST_BYTES = 256 * 2**20
_EXPORTS_SQL = f"""
    SELECT recipe.name AS recipe, export_path AS path, [one.shard FOR one IN input.shards] AS shards,
        counts.samples, counts.kept, counts.set_aside, counts.dropped, counts.undecided,
        recipe.content.dj_assets.on_undecided = 'keep' AS keeps_undecided, steps, files,
        recipe.sha256 AS recipe_sha256, input.dataset_path AS dataset_path, software
    FROM read_json({{files}}, format = 'unstructured', maximum_object_size = {LARGEST_MANIFEST_BYTES},
        columns = {{{", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in _MANIFEST_TYPES.items())}}})"""

_LINEAGE_DOCS = {
    **{name: _docs(STATS)[name] for name in ("recipe", "shard", "sample_id", "field", "position", "path")},
    **{name: _docs(STATS)[name] for name in ("content_hash", "step", "operator", "measure_id")},
    "operator_version": "version of the operator; NULL where nobody wrote it down",
    "params": "its params, canonical; NULL where nobody wrote them down",
    **{name: _docs(STATS)[name] for name in ("device", "stat", "value", "status", "measured_at")},
    "run_id": "run that measured it, which may be another recipe's; NULL for what no run can know (skipped, missing)",
    "outcome": "the sample's verdict",
    "left_by": "step that dropped the sample or left it undecided; empty where it is kept",
    "exported_to": "exports whose kept samples it is among",
}
# Of a fact that was compacted a minute ago there are two lines, in the old file and in the new one: hence the grouping.
_LINEAGE_SQL = """
    SELECT s.recipe, s.shard, s.sample_id, s.field, s.position, s.path, s.content_hash, s.step, s.operator,
        s.measure_id, m.version AS operator_version, m.params, s.device, s.stat, s.value, s.status, s.measured_at,
        f.run_id, v.outcome, v.left_by,
        CASE WHEN v.outcome = 'kept' OR (v.outcome = 'undecided' AND e.keeps_undecided) THEN e.paths ELSE [] END
            AS exported_to
    FROM {stats} s
    JOIN (SELECT recipe, shard, sample_id, outcome, step AS left_by FROM {verdicts}) v
        USING (recipe, shard, sample_id)
    LEFT JOIN (
        SELECT content_hash, measure_id, stat, measured_at, max(run_id) AS run_id FROM {facts_log} GROUP BY ALL
    ) f USING (content_hash, measure_id, stat, measured_at)
    LEFT JOIN {measures} m USING (operator, measure_id)
    LEFT JOIN (
        SELECT recipe, shard, list(path) AS paths, bool_or(keeps_undecided) AS keeps_undecided
        FROM (SELECT recipe, unnest(shards) AS shard, path, keeps_undecided FROM {exports}) GROUP BY ALL
    ) e USING (recipe, shard)"""

_COSTS_DOCS = {
    **{name: _docs(FACTS)[name] for name in ("operator", "measure_id", "device", "run_id")},
    "videos": "contents measured",
    "failures": "those without a number among them",
    "seconds": "worker time, their share of the decodes included",
    "seconds_per_video": "the same, for one",
    "first_at": "UTC, ISO 8601",
    "last_at": "UTC, ISO 8601",
}
# Two stats of one measure (width and height) came of one piece of work, and each line says what that cost.
_COSTS_SQL = """
    SELECT operator, measure_id, device, run_id, count(*) AS videos, count(*) FILTER (NOT is_ok) AS failures,
        sum(cost_seconds) AS seconds, avg(cost_seconds) AS seconds_per_video, min(measured_at) AS first_at,
        max(measured_at) AS last_at
    FROM (
        SELECT operator, measure_id, device, run_id, content_hash, measured_at, max(cost_seconds) AS cost_seconds,
            bool_and(status = 'ok') AS is_ok
        FROM {facts_log} GROUP BY ALL
    ) GROUP BY ALL"""

VIEWS: tuple[View, ...] = (
    View("samples", SAMPLES.doc, ("tables/*/samples/*.parquet",), _docs(SAMPLES), _parquet(SAMPLES)),
    View(
        "probes",
        "What each video is, by its packets: one line per content that a pass has opened.",
        (f"measures/{probes.OPERATOR}/*/*.parquet",),
        {"content_hash": _docs(FACTS)["content_hash"], **_meanings(probes.COLUMNS)},
        _PROBES_SQL,
        stand_in=_no_rows({"content_hash": ("VARCHAR", ""), **probes.COLUMNS}),
    ),
    View(
        "videos",
        "One line per video that a sample lists: where it lies, and what it is.",
        ("tables/*/samples/*.parquet",),
        {**_LISTED_DOCS, **_meanings(probes.COLUMNS)},
        f"SELECT v.*, p.* EXCLUDE (content_hash) FROM ({_LISTED_SQL}) v LEFT JOIN {{probes}} p USING (content_hash)",
        needs=("probes",),
    ),
    View(
        "products",
        "One line per product of a mapper that a sample holds: of which video, from when to when, by which params.",
        ("tables/*/samples/*.parquet",),
        _PRODUCT_DOCS,
        _PRODUCTS_SQL,
        needs=("measures",),
    ),
    View("stats", STATS.doc, ("tables/*/stats/*/*.parquet",), _docs(STATS), _parquet(STATS)),
    View("verdicts", VERDICTS.doc, ("tables/*/verdicts/*.parquet",), _docs(VERDICTS), _parquet(VERDICTS)),
    View(
        "facts",
        "What is known of each video: the newest number per content, measure and stat, or else failure.",
        ("measures/*/*/*.parquet",),
        _docs(FACTS),
        f"SELECT {_names([column.name for column in FACTS.columns])} FROM ({_MEASURED}) "
        "QUALIFY row_number() OVER (PARTITION BY content_hash, measure_id, stat "
        "ORDER BY (status = 'ok') DESC, measured_at DESC) = 1",
    ),
    View(
        "facts_log",
        "Every line ever added about a video, repeated measurements included.",
        ("measures/*/*/*.parquet",),
        _docs(FACTS),
        _MEASURED,
    ),
    View(
        "materializations",
        "The ledger: one line per table file ever written.",
        ("ledger/*/*.json",),
        _meanings(ledger.COLUMNS),
        _json(ledger.COLUMNS, layout="newline_delimited"),
    ),
    View(
        "measures",
        "What each measure id stands for.",
        (f"measures/*/*/{measures.FILE_NAME}",),
        _meanings(_MEASURES),
        _json(_MEASURES, layout="unstructured"),
        stand_in=_no_rows(_MEASURES),
    ),
    View(
        "exports",
        "One line per export as it was last written: its own manifest.",
        ("export/*/*.manifest.json",),
        _meanings(_EXPORTS),
        _EXPORTS_SQL,
        stand_in=_no_rows(_EXPORTS),
    ),
    View(
        "lineage",
        "One line per number that a sample's verdict rests on: the measure and run that it came from, where it went.",
        (),
        _LINEAGE_DOCS,
        _LINEAGE_SQL,
        needs=("stats", "verdicts", "facts_log", "measures", "exports"),
    ),
    View(
        "costs",
        "What measuring took: one line per measure, device and run.",
        (),
        _COSTS_DOCS,
        _COSTS_SQL,
        needs=("facts_log",),
    ),
)
"""Views that a full store has, besides one per stat (`_stat_view`)."""

LISTED = View("listed", "`videos` without what they are.", ("tables/*/samples/*.parquet",), _LISTED_DOCS, _LISTED_SQL)
"""For questions that only ask where a video is listed."""

BY_NAME: Mapping[str, View] = {view.name: view for view in (*VIEWS, LISTED)}


def literal_pattern(root: Path, pattern: str) -> str:
    """A pattern of files of the store as an SQL literal."""
    return literal(f"{_no_glob(str(root))}/{pattern}")


_COLUMN_TYPES = {
    **{column.name: SQL_TYPES[column.kind] for table in (SAMPLES, STATS, VERDICTS, FACTS) for column in table.columns},
    "num_bytes": "BIGINT",
    "modified_ns": "BIGINT",
    "rows": "BIGINT",
    "begin_seconds": "DOUBLE",
    "end_seconds": "DOUBLE",
    "mapper_version": "BIGINT",
}
"""SQL types of the columns of views over tables and the ledger; text where nothing is said."""


def select(root: Path, name: str, patterns: Sequence[str] | None = None) -> str:
    """The SELECT of a view that reads record files itself, over those of these patterns that match something.

    A question about one shard needs no other files. Of no rows where nothing matches.
    """
    view = BY_NAME[name]
    wanted = view.patterns if patterns is None else patterns
    present = [pattern for pattern in wanted if next(root.glob(pattern), None) is not None]
    return view.select(root, present) if present else _without_rows(view)


def _without_rows(view: View) -> str:
    columns = {column: (_COLUMN_TYPES.get(column, "VARCHAR"), "") for column in view.columns}
    return view.stand_in or _no_rows(columns)


def _stat_view(stat: str, steps: Sequence[str]) -> View:
    """`stat_<name>`: the lines of `stats` about one stat, read from the tables of the steps that have it."""
    columns = {name: doc for name, doc in _docs(STATS).items() if name != "stat"}
    return View(
        f"stat_{stat}",
        f"One line per video of a sample and step: its {stat}.",
        tuple(f"tables/*/stats/{_no_glob(step)}/*.parquet" for step in steps),
        columns,
        f"SELECT {_names(list(columns))} FROM ({_parquet(STATS)}) WHERE stat = {literal(stat)}",
    )


def _stats_by_step(root: Path, known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Step key -> names of its stats, for every step that has a table. known: those that need no looking."""
    found: dict[str, list[str]] = {step: list(stats) for step, stats in known.items() if stats}
    present = set()
    for folder in sorted(root.glob("tables/*/stats/*")):
        present.add(folder.name)
        if not found.get(folder.name):
            found[folder.name] = _stats_in(folder)
    return {step: found[step] for step in sorted(present)}


def _stats_in(folder: Path) -> list[str]:
    """The stats of one table, by its first file that can tell: every video of a step has all of them."""
    for path in folder.glob("*.parquet"):
        try:
            with open_parquet(path) as file:
                names = file.read(columns=["stat"], use_threads=False).column(0).unique().to_pylist()
        except (OSError, Damaged) as error:
            log.debug("no stats are known of %s: %s", path, error)
            continue
        if names:
            return sorted(names)
    return []


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


@dataclass(frozen=True)
class _Content:
    """What an index shows. stats: step key -> names of its stats."""

    views: list[View]
    stats: dict[str, list[str]] = field(default_factory=dict)


class _Index:
    """The index file of one store, its side lock, and the stamp in the lock file that says what was built when."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / FILE_NAME
        self.lock = root / f"{FILE_NAME}.lock"

    def content(self) -> _Content:
        """What the index has to show now."""
        stats = _stats_by_step(self.root, self._last_stamp().get("stats", {}))
        shown = {view.name: view for view in VIEWS if view.patterns and _has_files(self.root, view)}
        for view in VIEWS:
            if view.needs and not view.patterns and all(name in shown or BY_NAME[name].stand_in for name in view.needs):
                shown[view.name] = view
        steps: dict[str, list[str]] = {}
        for step, names in stats.items():
            for name in names:
                steps.setdefault(name, []).append(step)
        return _Content([*shown.values(), *(_stat_view(name, steps[name]) for name in sorted(steps))], stats)

    def is_current(self) -> bool:
        """Whether there is nothing to show, or the file as it lies there is the one built for these views."""
        content = self.content()
        try:
            return not content.views or self._last_stamp() == self.stamp(content)
        except OSError:
            return False

    def stamp(self, content: _Content) -> dict[str, Any]:
        """What the lock file says when the index shows this. Its `stats` spare the next one opening a table."""
        digest = hashlib.sha256("\n".join(view.select(self.root) for view in content.views).encode()).hexdigest()
        file = self.path.stat()
        return {"views": digest, "file": [file.st_ino, file.st_size, file.st_mtime_ns], "stats": content.stats}

    def _last_stamp(self) -> dict[str, Any]:
        try:
            stamp = json.loads(self.lock.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def renew(self) -> str | None:
        """Build the index anew; the lock is held. Returns a warning, or None."""
        state, detail = _inspect(self.path)
        if state == "in use":
            return f"{self.path} was not renewed, a client holds it open: {detail}"
        warning = None
        if state == "broken" and (aside := set_aside(self.path)):
            warning = f"{self.path} was damaged ({detail}); set aside as {aside.name} and built again"
        content = self.content()
        fresh = temporary_beside(self.path)
        try:
            _build(fresh, self.root, content.views)
            # A log that a killed client left belongs to the old file and would spoil the new one.
            self.path.with_name(f"{FILE_NAME}.wal").unlink(missing_ok=True)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
            fresh.with_name(f"{fresh.name}.wal").unlink(missing_ok=True)
        self.lock.write_text(json.dumps(self.stamp(content)), encoding="utf-8")
        return warning


def _inspect(path: Path) -> tuple[Literal["absent", "sound", "in use", "broken"], str]:
    """What lies at the index's place. Opened for reading, so that other readers may stay."""
    import duckdb

    if not path.exists():
        return "absent", ""
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH {literal(str(path))} AS old (TYPE duckdb, READ_ONLY)")
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
            f"ATTACH {literal(str(path))} AS new (TYPE duckdb, STORAGE_VERSION {literal(STORAGE_VERSION)})"
        )
        connection.execute("BEGIN")
        _create_views(connection, "new", root, views)
        connection.execute("COMMIT")
        connection.execute("DETACH new")
    finally:
        connection.close()


def _create_views(connection: Any, database: str, root: Path, views: Sequence[View]) -> None:
    for view in views:
        connection.execute(f'CREATE VIEW {database}."{view.name}" AS {view.select(root)}')
        connection.execute(f'COMMENT ON VIEW {database}."{view.name}" IS {literal(view.doc)}')
        for name, doc in view.columns.items():
            connection.execute(f'COMMENT ON COLUMN {database}."{view.name}"."{name}" IS {literal(doc)}')


# --- reading


@contextmanager
def opened(root: Path) -> Iterator[Any]:
    """A DuckDB connection that sees the views of a store, and can read nothing else of this machine.

    It cannot change the index. What it must be kept from by other means: `COPY … TO` a file in the store, since to
    DuckDB a folder that may be read may be written. Where the index cannot be opened (a client holds it for writing,
    it is broken, or gone), the same views are made in memory. Raises `duckdb.Error`.
    """
    import duckdb

    options = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with tempfile.TemporaryDirectory(prefix="dj-assets-") as spill:
        connection = duckdb.connect(config={**options, "temp_directory": spill})
        try:
            _attach(connection, root)
            connection.execute("USE store")
            allowed = ", ".join(literal(path) for path in dict.fromkeys([str(root), _no_glob(str(root))]))
            connection.execute(f"SET allowed_directories = [{allowed}]")
            connection.execute("SET enable_external_access = false")
            # Or a table of an unknown name would be looked for among the variables of our own functions.
            connection.execute("SET python_enable_replacements = false")
            connection.execute("SET lock_configuration = true")
            yield connection
        finally:
            connection.close()


def _attach(connection: Any, root: Path) -> None:
    """Attach the index as `store`, or a stand-in that lives in memory."""
    import duckdb

    index = _Index(root)
    try:
        connection.execute(f"ATTACH {literal(str(index.path))} AS store (TYPE duckdb, READ_ONLY)")
        connection.execute("SELECT view_name FROM duckdb_views() WHERE database_name = 'store'").fetchall()
    except duckdb.Error as error:
        log.info("the index is done without: %s", _one_line(error))
        connection.execute("DETACH DATABASE IF EXISTS store")
        connection.execute("ATTACH ':memory:' AS store")
        _create_views(connection, "store", root, index.content().views)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
