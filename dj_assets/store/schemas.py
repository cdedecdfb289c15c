"""What each record file holds: one declaration per table, for its Parquet schema and its DuckDB view."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from dj_assets import samples as sample_format
from dj_assets.samples import Made, Sample, Video
from dj_assets.store.rows import Ballot, Fact, Row, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "whole", "number", "flag", "numbers", "texts", "videos", "made"]

_VIDEO_FIELDS = tuple(field.name for field in fields(Video))
_VIDEO_WHOLES = ("position", "num_bytes", "modified_ns")
_MADE_FIELDS = tuple(field.name for field in fields(Made))
_MADE_NUMBERS = ("begin_seconds", "end_seconds")

SQL_TYPES: Mapping[Kind, str] = {
    "text": "VARCHAR",
    "whole": "BIGINT",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "numbers": "DOUBLE[]",
    "texts": "VARCHAR[]",
    "videos": "STRUCT("
    + ", ".join(f'"{name}" {"BIGINT" if name in _VIDEO_WHOLES else "VARCHAR"}' for name in _VIDEO_FIELDS)
    + ")[]",
    "made": "STRUCT("
    + ", ".join(f'"{name}" {"DOUBLE" if name in _MADE_NUMBERS else "VARCHAR"}' for name in _MADE_FIELDS)
    + ")[]",
}


@dataclass(frozen=True)
class Column:
    """One column.

    number: its Parquet field id, never used for another column of the table; DuckDB finds columns by it.
    default: what a file written before the column existed is read with.
    """

    number: int
    name: str
    kind: Kind
    doc: str
    default: Any = ""


@dataclass(frozen=True)
class Table:
    """A kind of record file. Columns are only ever added, with a default; `version` counts the additions."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    version: int = 1

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Parquet schema."""
        import pyarrow as pa

        video = pa.struct([(name, pa.int64() if name in _VIDEO_WHOLES else pa.string()) for name in _VIDEO_FIELDS])
        made = pa.struct([(name, pa.float64() if name in _MADE_NUMBERS else pa.string()) for name in _MADE_FIELDS])
        types = {
            "text": pa.string(),
            "whole": pa.int64(),
            "number": pa.float64(),
            "flag": pa.bool_(),
            "numbers": pa.list_(pa.float64()),
            "texts": pa.list_(pa.string()),
            "videos": pa.list_(video),
            "made": pa.list_(made),
        }
        return pa.schema(
            [
                pa.field(column.name, types[column.kind], metadata={"PARQUET:field_id": str(column.number)})
                for column in self.columns
            ]
        )

    def pack(self, records: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Records → Arrow, any Python text included (see `storable`)."""
        import pyarrow as pa

        texts = {column.name for column in self.columns if column.kind in ("text", "texts", "videos", "made")}
        rows = [
            {name: _each_text(value, storable) if name in texts else value for name, value in record.items()}
            for record in records
        ]
        return pa.Table.from_pylist(rows, schema=self.arrow)

    def unpack(self, table: pa.Table) -> list[dict[str, Any]]:
        """Arrow → records, the inverse of `pack`; lists come back as lists."""
        conformed = table if table.schema.equals(self.arrow) else self.conform(table)
        records = conformed.to_pylist()
        escaped = [column.name for column in self.columns if _may_be_escaped(column.kind, conformed[column.name])]
        for record in records:
            for name in escaped:
                record[name] = _each_text(record[name], restored)
        return records

    def conform(self, table: pa.Table) -> pa.Table:
        """The same rows in today's schema: unknown columns left out, missing ones filled with the default."""
        import pyarrow as pa

        arrays = []
        for column, field in zip(self.columns, self.arrow, strict=True):
            if column.name in table.column_names:
                arrays.append(table.column(column.name).cast(field.type))
            else:
                arrays.append(pa.array([column.default] * table.num_rows, type=field.type))
        return pa.table(arrays, schema=self.arrow)


# Numbers 1 to 20 say where a row stands, 21 to 40 what was measured, from 41 on what is the table's own.
_PLACE = (
    Column(1, "recipe", "text", "recipe that asked"),
    Column(2, "shard", "text", "partition key"),
)
_FACT = (
    Column(
        21,
        "content_hash",
        "text",
        "BLAKE2b-128 of the file's bytes, or of a record as JSON, hex; empty where the file was not read",
    ),
    Column(22, "operator", "text", "operator that measured"),
    Column(23, "measure_id", "text", "operator, version, params and, where it moves the number, device"),
    Column(24, "stat", "text", "Data-Juicer's name of the number"),
    Column(25, "value", "number", "the number; NULL where it could not be measured", None),
    Column(26, "window_values", "numbers", "one number per window, before reduction", ()),
    Column(27, "window_details", "texts", "JSON text per window, text boxes say; or empty", ()),
    Column(28, "status", "text", "ok, or why there is no number", "ok"),
    Column(29, "reason", "text", "the same in words"),
    Column(30, "cost_seconds", "number", "worker time, its share of the decode included", 0.0),
    Column(31, "device", "text", "where it was computed", "cpu"),
    Column(32, "measured_at", "text", "UTC, ISO 8601"),
)

SAMPLES = Table(
    "samples",
    "One line per manifest record, or sample that a mapper made of one, with the identity of its videos.",
    (
        *_PLACE,
        Column(41, "sample_id", "text", "data drop, a colon, line number"),
        Column(42, "drop", "text", "data drop that it came with"),
        Column(43, "line_number", "whole", "line of the manifest, from 1", 0),
        Column(44, "record", "text", "the user's record as lossless JSON", "{}"),
        Column(45, "videos", "videos", "the videos that the record lists", ()),
        Column(46, "status", "text", "ok, or malformed", "ok"),
        Column(47, "reason", "text", "what is wrong with the line"),
        Column(48, "raw", "text", "the line as it stood, where it is malformed"),
        Column(49, "parent_id", "text", "sample that a mapper made it of; empty for those of the dataset"),
        Column(50, "parent_recipe", "text", "stage of the recipe that the parent is of"),
        Column(51, "made_by", "text", "mapper step that made it"),
        Column(52, "measure_id", "text", "mapper, version, params and, where it moves the result, device"),
        Column(53, "made", "made", "products in it: of which video, from when to when", ()),
    ),
    version=2,
)

FACTS = Table(
    "facts",
    "What measures found in videos, keyed by content and measure, whoever asked first.",
    (
        *_FACT,
        Column(41, "run_id", "text", "run that measured it"),
        Column(42, "versions", "text", "software that measured it"),
    ),
)

STATS = Table(
    "stats",
    "One line per video of a sample, step and stat: rows out = videos in. Of steps on records one per sample and stat.",
    (
        *_PLACE,
        Column(41, "step", "text", "step of the recipe"),
        Column(42, "sample_id", "text", "sample that lists the video"),
        Column(43, "field", "text", "manifest field that lists it; empty where the row is about the sample itself"),
        Column(44, "position", "whole", "index in that field", 0),
        Column(45, "path", "text", "absolute path; empty of a sample itself"),
        *_FACT,
        Column(46, "reused", "flag", "whether the number was found in the store", False),
    ),
)

VERDICTS = Table(
    "verdicts",
    "What happens to each sample, and why.",
    (
        *_PLACE,
        Column(41, "sample_id", "text", "the sample"),
        Column(42, "outcome", "text", "kept, dropped or undecided"),
        Column(43, "step", "text", "first failing step, or first that could not be decided"),
        Column(44, "operator", "text", "its operator"),
        Column(45, "stat", "text", "its stat"),
        Column(46, "values", "numbers", "the sample's values of that stat, one per video", ()),
        Column(47, "bound", "text", "the range that they left"),
        Column(48, "status", "text", "why undecided", "ok"),
        Column(49, "reason", "text", "the same in words, and why a step over the whole dataset dropped it"),
        Column(50, "in_favour_of", "text", "sample that stays in its place"),
    ),
    version=2,
)

BALLOTS = Table(
    "ballots",
    "What each sample brings to the steps over the whole dataset. No view shows them: they are made from other tables.",
    (
        *VERDICTS.columns,
        Column(61, "failing", "whole", "place in the recipe of the first step that fails; NULL where none does", None),
        Column(62, "unknown", "whole", "of the first step that could not be decided; NULL where none is", None),
        Column(63, "papers", "texts", "per step over the whole dataset: JSON, or empty where it is no candidate", ()),
    ),
)


def sample_record(sample: Sample, place: Mapping[str, str]) -> dict[str, Any]:
    """A sample as a line of `SAMPLES`."""
    return {
        **place,
        **_shallow(sample),
        "record": sample_format.dumps_record(sample.record),
        "videos": [asdict(video) for video in sample.videos],
        "made": [asdict(made) for made in sample.made],
    }


def sample_of(record: Mapping[str, Any]) -> Sample:
    """Inverse of `sample_record`."""
    fields = _pick(Sample, record)
    fields["record"] = sample_format.loads_record(record["record"])
    fields["videos"] = tuple(Video(**_pick(Video, video)) for video in record["videos"] or ())
    fields["made"] = tuple(Made(**_pick(Made, made)) for made in record["made"] or ())
    return Sample(**fields)


def fact_record(fact: Fact, place: Mapping[str, str]) -> dict[str, Any]:
    """A fact as a line of `FACTS`."""
    return {**place, **_shallow(fact)}


def fact_of(record: Mapping[str, Any]) -> Fact:
    """Inverse of `fact_record`."""
    return Fact(**_pick(Fact, record))


def row_record(row: Row, place: Mapping[str, str]) -> dict[str, Any]:
    """A row as a line of `STATS`."""
    record = {**place, **_shallow(row), **_shallow(row.fact)}
    del record["fact"]
    return record


def row_of(record: Mapping[str, Any]) -> Row:
    """Inverse of `row_record`."""
    return Row(fact=fact_of(record), **_pick(Row, record))


def verdict_record(verdict: Verdict, place: Mapping[str, str]) -> dict[str, Any]:
    """A verdict as a line of `VERDICTS`."""
    return {**place, **_shallow(verdict)}


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """Inverse of `verdict_record`."""
    return Verdict(**_pick(Verdict, record))


def ballot_record(ballot: Ballot, alone: Verdict, place: Mapping[str, str]) -> dict[str, Any]:
    """A ballot, and the verdict on the sample alone, as a line of `BALLOTS`."""
    return {**verdict_record(alone, place), **_shallow(ballot)}


def ballot_of(record: Mapping[str, Any]) -> Ballot:
    """The ballot of such a line; `verdict_of` gives the verdict."""
    return Ballot(**_pick(Ballot, record))


def _shallow(value: Any) -> dict[str, Any]:
    """Fields of a frozen row; `dataclasses.asdict` would copy every window value."""
    return dict(vars(value))


@cache
def _field_names(noun: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(noun))


def _pick(noun: type, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's fields of one dataclass, lists as the tuples that they were."""
    found = {name: record[name] for name in _field_names(noun) if name in record}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


ESCAPED = "\ufdd0"
"""First character of escaped text: a code point that Unicode sets aside for use inside a program."""


def storable(text: str) -> str:
    """Text that UTF-8 can hold.

    A file name that is not UTF-8, or "\\ud800" in JSON, gives Python text with lone surrogates. Parquet
    refuses it, and one such name must not cost a shard.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return ESCAPED + json.dumps(text)
    return ESCAPED + json.dumps(text) if text.startswith(ESCAPED) else text


def restored(text: str) -> str:
    """Inverse of `storable`."""
    return json.loads(text[1:]) if text.startswith(ESCAPED) else text


def _may_be_escaped(kind: Kind, column: pa.ChunkedArray) -> bool:
    """Whether some text of a column has to be restored. Nearly none has: looking at the column spares its cells."""
    import pyarrow.compute as pc

    if kind in ("videos", "made"):
        return True
    if kind not in ("text", "texts"):
        return False
    texts = pc.list_flatten(column) if kind == "texts" else column
    return bool(pc.any(pc.starts_with(texts, ESCAPED)).as_py())


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _each_text(item, change) for name, item in value.items()}
    return value
