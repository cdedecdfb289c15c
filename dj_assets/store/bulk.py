"""Whole tables of a store as Arrow, for whoever looks at a million rows at once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dj_assets.errors import StoreError
from dj_assets.samples import TEXT_MARK
from dj_assets.store import index, probes
from dj_assets.store.facts import folder_of
from dj_assets.store.files import part

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_COLUMNS = ("shard", "sample_id", "drop", "line_number", "videos", "status", "reason")
SAMPLE_ORDER = "ORDER BY shard, line_number, sample_id"
NUMBER_COLUMNS = ("content_hash", "stat", "value", "status", "reason")


def sample_columns(*, with_records: bool) -> list[str]:
    """`SAMPLE_COLUMNS`, and `record`, the users' records as lossless JSON, which take most of the memory."""
    return [*SAMPLE_COLUMNS, *(["record"] if with_records else [])]


def samples(root: Path, recipe: str, *, with_records: bool = False) -> pa.Table:
    """`sample_columns` of every sample of a recipe, by shard and line; of no rows where none was materialized."""
    columns = ", ".join(f'"{name}"' for name in sample_columns(with_records=with_records))
    return _ask(root, f"SELECT {columns} FROM ({_samples_sql(root, recipe)}) {SAMPLE_ORDER}")


def record_field(root: Path, recipe: str, name: str) -> pa.Table:
    """One field of the users' records in the order of `samples`.

    Columns `sample_id` and `field`: JSON text, null where a record lacks it.
    """
    path = index.literal("$." + json.dumps(name, ensure_ascii=False))
    return _ask(
        root,
        f"SELECT sample_id, CAST(json_extract(record, {path}) AS VARCHAR) AS field "
        f"FROM ({_samples_sql(root, recipe)}) {SAMPLE_ORDER}",
    )


def record_fields(root: Path, recipe: str, *, most_records: int = 10_000) -> list[str]:
    """Names of the fields of the users' records, in the order of first appearance in the first records."""
    found = _ask(
        root,
        f"SELECT json_keys(record) AS names FROM ({_samples_sql(root, recipe)}) WHERE status = 'ok' "
        f"LIMIT {most_records}",
    )
    return list(dict.fromkeys(name for names in found.column("names").to_pylist() for name in names or ()))


def numbers(root: Path, operator: str, measure_id: str) -> pa.Table:
    """`NUMBER_COLUMNS` of everything that a measure found: the best answer per video and stat, in no order.

    A number goes before a failure and the newer before the older, as in `Store.find_facts`; but failures that may pass
    (`timed_out`) are among them, since somebody who looks wants to know.
    """
    facts = _facts_sql(root, operator, measure_id)
    found = _ask(root, f"SELECT {', '.join(NUMBER_COLUMNS)}, measured_at FROM ({facts})")
    keys = found.group_by(["content_hash", "stat"]).aggregate([])
    if keys.num_rows < found.num_rows:
        found = _best(root, facts)
    return found.select(list(NUMBER_COLUMNS))


def _best(root: Path, facts: str) -> pa.Table:
    return _ask(
        root,
        f"SELECT DISTINCT ON (content_hash, stat) {', '.join(NUMBER_COLUMNS)}, measured_at FROM ({facts}) "
        "ORDER BY content_hash, stat, status = 'ok' DESC, measured_at DESC",
    )


def costs(root: Path, operator: str, measure_id: str) -> pa.Table:
    """`content_hash`, `cost_seconds` and `is_measured` (whether every stat has a number) of every file that a measure
    was asked about, by the answers that `numbers` gives. Two stats of one measure came of one piece of work; a file's
    numbers with several texts did not."""
    return _ask(
        root,
        "WITH each AS (SELECT content_hash AS key, max(cost_seconds) AS seconds, bool_and(status = 'ok') AS is_ok "
        f"FROM ({_facts_sql(root, operator, measure_id)}) GROUP BY key) "
        f"SELECT {_FILE_HASH.format('key')} AS content_hash, sum(seconds) AS cost_seconds, "
        "bool_and(is_ok)::TINYINT AS is_measured FROM each GROUP BY ALL",
    )


_FILE_HASH = f"split_part({{}}, '{TEXT_MARK}', 1)"
"""SQL: `Video.file_hash`."""


def durations(root: Path) -> pa.Table:
    """`content_hash` and `duration_seconds` of every video that a pass has opened."""
    pattern = f"measures/{probes.OPERATOR}/{probes.MEASURE_ID}/*.parquet"
    return _ask(root, f"SELECT content_hash, duration_seconds FROM ({index.select(root, 'probes', [pattern])})")


def reason(root: Path, operator: str, measure_id: str, content_hash: str, stat: str) -> str:
    """Why a measure has no number of a video, as `numbers` has it; empty where it has one, or was never asked. Of a
    file that was measured with several texts, the first reason."""
    found = _ask(
        root,
        f"SELECT reason FROM ({_facts_sql(root, operator, measure_id)}) "
        f"WHERE {_FILE_HASH.format('content_hash')} = {index.literal(content_hash)} AND stat = {index.literal(stat)} "
        "ORDER BY reason = '', content_hash LIMIT 1",
    )
    return found.column("reason")[0].as_py() if found.num_rows else ""


def _facts_sql(root: Path, operator: str, measure_id: str) -> str:
    """The best answer per video and stat of one measure."""
    folder = folder_of(root, operator, measure_id).relative_to(root).as_posix()
    return index.select(root, "facts", [f"{folder}/*.parquet"])


def _samples_sql(root: Path, recipe: str) -> str:
    return index.select(root, "samples", [f"tables/{part(recipe, what='recipe')}/samples/*.parquet"])


def _ask(root: Path, sql: str) -> pa.Table:
    with _connected() as connection:
        return connection.sql(sql).to_arrow_table()


@contextmanager
def _connected() -> Iterator[Any]:
    """A connection of its own, in memory. What DuckDB cannot read is a `StoreError`."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="dj-assets-") as spill:
        connection = duckdb.connect(config={"temp_directory": spill})
        try:
            yield connection
        except duckdb.Error as error:
            raise StoreError(
                f"a table of the store cannot be read: {' '.join(str(error).split())}",
                allowed="Parquet files as dj-assets wrote them",
                try_="materialize the shard again that it belongs to; or remove the file, and measure again",
            ) from None
        finally:
            connection.close()
