"""Records as Arrow tables, for Parquet exports: types of a Parquet manifest stay, those of JSON are inferred."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from dj_assets.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


StatKind = Literal["numbers", "wholes", "flags", "number", "whole", "flag"]
"""What a stat holds: a list with one per video, or one of the sample itself."""


def dumps(
    records: Sequence[Mapping[str, Any]],
    *,
    schema: pa.Schema | None = None,
    without: Iterable[str] = (),
    stats: tuple[str, Mapping[str, StatKind]] = ("", {}),
) -> bytes:
    """Records as an Arrow stream, columns in order of appearance.

    schema: types to keep, and columns to write even where there is no record. without: columns to leave out
    of it.
    stats: (column, {stat: what it holds}): a struct whose types hold even where nothing was measured.
    Raises `StoreError` naming the field that has no one type.
    """
    import pyarrow as pa

    kinds = {} if schema is None else {name: schema.field(name).type for name in schema.names}
    for name in without:
        kinds.pop(name, None)
    names = dict.fromkeys([*kinds, *(name for record in records for name in record)])
    columns = {}
    for name in names:
        values = [record.get(name) for record in records]
        kind = kinds.get(name)
        if name == stats[0]:
            kind = _stats_type(values, stats[1])
        columns[name] = _column(name, values, kind)
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def loads(data: bytes) -> pa.Table:
    """The table of an Arrow stream."""
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()


def read_schema(file: IO[bytes]) -> pa.Schema:
    """Schema of the Arrow stream that begins where the file stands; nothing else of it is read."""
    import pyarrow as pa

    return pa.ipc.open_stream(file).schema


def unify(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The schema that holds all of them: missing fields and nulls take the others' type, integers become
    floats where they must. Raises `StoreError` where a field has two types."""
    import pyarrow as pa

    try:
        return pa.unify_schemas(list(schemas) or [pa.schema([])], promote_options="permissive")
    except pa.ArrowException as error:
        raise _no_one_type(str(error)) from error


def write_parquet(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> int:
    """Write tables, converted to `schema`, as one Parquet file. Returns its number of rows. Raises `StoreError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num_rows = 0
    try:
        with pq.ParquetWriter(path, schema) as writer:
            for table in tables:
                writer.write_table(_conform(table, schema))
                num_rows += table.num_rows
    except pa.ArrowException as error:
        raise _no_one_type(str(error)) from error
    return num_rows


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = [
        table[item.name].cast(item.type) if item.name in table.column_names else pa.nulls(len(table), item.type)
        for item in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _stats_type(values: Sequence[Any], stats: Mapping[str, StatKind]) -> pa.DataType:
    """Type of the stats column: as the records have it, our own stats as they are even where all null."""
    import pyarrow as pa

    types: dict[StatKind, pa.DataType] = {
        "numbers": pa.list_(pa.float64()),
        "wholes": pa.list_(pa.int64()),
        "flags": pa.list_(pa.bool_()),
        "number": pa.float64(),
        "whole": pa.int64(),
        "flag": pa.bool_(),
    }
    ours = pa.struct([(name, types[kind]) for name, kind in stats.items()])
    found = _attempt("stats", lambda: pa.array(values).type)
    return unify([pa.schema([("stats", ours)]), pa.schema([("stats", found)])]).field("stats").type


def _column(name: str, values: Sequence[Any], kind: pa.DataType | None) -> pa.Array:
    import pyarrow as pa

    if kind is None:
        return _attempt(name, lambda: pa.array(values))
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        # Times finer than a microsecond come as text or whole numbers, see manifests.py; each may differ.
        return _attempt(name, lambda: pa.concat_arrays([pa.array([value]).cast(kind) for value in values]))


def _attempt(name: str, make: Callable[[], Any]) -> Any:
    import pyarrow as pa

    try:
        return make()
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise _no_one_type(f"field {name!r}: {error}") from error


def _no_one_type(why: str) -> StoreError:
    return StoreError(
        f"the records do not fit into one Parquet table: {' '.join(why.split())}",
        allowed="one type per field, over all records",
        try_="export to .jsonl, which takes any record; numbers that are measured already are not measured again",
    )
