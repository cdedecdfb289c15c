"""`dj-assets sql`: ask the store in SQL. It reads the store's views, and can write nothing but its own answer."""

from __future__ import annotations

import csv
import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import EXIT_CODES
from dj_assets.cli.verbosity import verbose_option
from dj_assets.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("table", "csv", "json", "parquet")
SUFFIXES: Mapping[str, str] = {".txt": "table", ".csv": "csv", ".json": "json", ".parquet": "parquet"}
MOST_TABLE_ROWS = 1000
"""A table is laid out as a whole; the other formats are written row by row."""

BATCH_ROWS = 10_000
WRITERS = ("COPY", "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "EXPORT", "ATTACH")
"""Beginnings of the names that DuckDB's plans give to what writes."""


@click.command(
    name="sql",
    epilog=f"""\b
Examples:
  dj-assets sql
  dj-assets sql "SELECT outcome, count(*) FROM verdicts GROUP BY ALL"
  dj-assets sql "FROM stat_video_motion_score WHERE value < 2" --format csv
  dj-assets sql "FROM lineage" -o lineage.parquet
{EXIT_CODES}""",
)
@click.argument("query", required=False, metavar="[QUERY]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by the suffix of -o, else table.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File for the answer.")
@verbose_option
def command(query: str | None, form: str | None, output: Path | None) -> None:
    """Ask the store in DuckDB's SQL; without a query, list its views and their columns.

    One SELECT, FROM, DESCRIBE, SUMMARIZE, PIVOT or SHOW. It can change nothing and read nothing but the store.
    """
    form = form or (SUFFIXES.get(output.suffix.lower(), "table") if output else "table")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise RecipeError(
            "parquet is no text for a terminal",
            allowed="a file, or another program",
            try_="-o answer.parquet",
            file="command line",
        )
    with _connected() as connection:
        if query is None:
            _print_views(console(), connection)
            return
        _answer(connection, query, form, output)


@contextmanager
def _connected() -> Iterator[Any]:
    """A connection to the project's store, its index made up to date first where that can be done."""
    from dj_assets.defs.project import store_root
    from dj_assets.store.index import opened
    from dj_assets.store.lineage import nothing_there
    from dj_assets.store.store import Store

    store = Store(store_root())
    if not any((store.root / folder).is_dir() for folder in ("tables", "measures")):
        raise nothing_there(store.root)
    if warning := store.refresh_index():
        print_lines(console(stderr=True), [f"warning: {warning}"])
    with opened(store.root) as connection:
        yield connection


# --- asking


def _answer(connection: Any, query: str, form: str, output: Path | None) -> None:
    import duckdb

    from dj_assets.store.lineage import unreadable

    try:
        refuse_writing(connection, query)
        answer = _Answer(connection, query)
        if output is None:
            _print_answer(answer, form)
        else:
            _write_answer(answer, form, output)
    except duckdb.Error as error:
        mistakes = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError, duckdb.PermissionException)
        # Of a file that is damaged, DuckDB says "invalid input" too; but then it names the file.
        if isinstance(error, mistakes) and ".parquet'" not in str(error):
            raise _mistake(connection, error) from error
        raise unreadable(error) from error


def refuse_writing(connection: Any, query: str) -> None:
    """Raise `RecipeError` for anything but one statement that only reads. Raises `duckdb.Error` where it is no SQL.

    DuckDB may write wherever it may read, and since 2.0 does so in the middle of a SELECT, too
    (`WITH x AS (COPY … TO …)`). Words do not tell; its plan does, and making one writes nothing.
    """
    import duckdb

    statements = connection.extract_statements(query)
    kinds = {statement.type for statement in statements}
    reads = kinds <= {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}
    if len(statements) != 1 or not reads or any(map(_writes, _plan_names(connection, query))):
        raise RecipeError(
            f"{len(statements)} statements were given"
            if len(statements) != 1
            else "this statement does more than read",
            allowed="one statement that reads: SELECT, FROM, WITH, DESCRIBE, SUMMARIZE, PIVOT, SHOW",
            try_="for a file: dj-assets sql QUERY -o answer.parquet",
            file="command line",
        )


def _plan_names(connection: Any, query: str) -> Iterator[str]:
    """Names of all operators that DuckDB would run."""
    [*_, (_, text)] = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    waiting = list(json.loads(text))
    while waiting:
        node = waiting.pop()
        yield node["name"].upper().strip()
        waiting.extend(node.get("children", ()))


def _writes(name: str) -> bool:
    return any(word in name for word in WRITERS)


def _mistake(connection: Any, error: Exception) -> RecipeError:
    """DuckDB's message in three parts, with the nearest name."""
    lines = str(error).split("\n")
    given = re.sub(r"^\w+( \w+)* Error: ", "", lines[0])
    hint = " ".join(line for line in lines[1:] if line.startswith("Candidate bindings"))
    near: list[str] = []
    allowed = ""
    if missing := re.search(r"(?:Table|View) with name (\S+) does not exist", given):
        views = _views(connection)
        near = difflib.get_close_matches(missing[1].strip('"'), views, n=2, cutoff=0.5)
        allowed = ", ".join(views)
    elif missing := re.search(r'[Rr]eferenced column "([^"]+)" not found', given):
        candidates = re.findall(r'"([^"]+)"', hint)
        near = candidates[:1]
        allowed = ", ".join(candidates)
    elif "file system operations are disabled" in given or "disabled by configuration" in given:
        allowed = "the store's views; no other file of this machine, no extension"
    return RecipeError(
        given,
        allowed=allowed or "one statement of DuckDB's SQL over the store's views",
        try_=f"did you mean {' or '.join(near)}?" if near else "dj-assets sql lists the views and their columns",
        file="command line",
    )


def _views(connection: Any) -> list[str]:
    sql = "SELECT view_name FROM duckdb_views() WHERE database_name = 'store' AND NOT internal ORDER BY 1"
    return [name for (name,) in connection.execute(sql).fetchall()]


# --- answering


class _Answer:
    """The rows of a query, to be taken once: as Python's values, or as Arrow's."""

    def __init__(self, connection: Any, query: str) -> None:
        self._connection = connection
        self._query = query

    def rows(self) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Names of the columns, and the rows."""
        cursor = self._connection.execute(self._query)
        batches = iter(partial(cursor.fetchmany, BATCH_ROWS), [])
        return [column[0] for column in cursor.description], (row for batch in batches for row in batch)

    def batches(self) -> Any:
        """An Arrow reader."""
        relation = self._connection.sql(self._query)
        # DuckDB 1.4 has the older name alone.
        read = relation.to_arrow_reader if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader
        return read(BATCH_ROWS)


class _Writing(NamedTuple):
    """A format. is_binary: whether it writes bytes."""

    write: Callable[..., None]
    is_binary: bool = False


def _print_answer(answer: _Answer, form: str) -> None:
    if form == "table":
        _print_table(console(), answer)
    else:
        writing = _WRITING[form]
        writing.write(answer, sys.stdout.buffer if writing.is_binary else sys.stdout)


def _write_answer(answer: _Answer, form: str, output: Path) -> None:
    """Replace the file as a whole, or leave it alone."""
    from dj_assets.store.files import write_atomically

    writing = _WRITING[form]

    def write(temporary: Path) -> None:
        if writing.is_binary:
            with temporary.open("wb") as file:
                writing.write(answer, file)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as text:
                writing.write(answer, text)

    write_atomically(output.absolute(), write)
    print_lines(console(stderr=True), [f"written: {output}"])


def _print_table(out: Console, answer: _Answer) -> None:
    """At most so many rows, and a word about the others."""
    names, found = answer.rows()
    rows = list(islice(found, MOST_TABLE_ROWS + 1))
    numbers = {
        name
        for place, name in enumerate(names)
        if any(_is_number(row[place]) for row in rows) and all(_is_number(row[place], or_null=True) for row in rows)
    }
    shown = [[_cell(value) for value in row] for row in rows[:MOST_TABLE_ROWS]]
    print_table(out, names, shown, numbers=sorted(numbers))
    if not rows:
        print_lines(out, [f"no rows ({', '.join(names)})"])
    elif len(rows) > MOST_TABLE_ROWS:
        print_lines(out, [f"the first {MOST_TABLE_ROWS} rows; --format csv, json or parquet has all of them"])


def _is_number(value: Any, *, or_null: bool = False) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or (or_null and value is None)


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is no number in JSON is null, what JSON has no word for is text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inside) for inside in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _write_table(answer: _Answer, file: TextIO) -> None:
    from rich.console import Console

    _print_table(Console(file=file, width=10_000, markup=False, emoji=False, highlight=False), answer)


def _write_csv(answer: _Answer, file: TextIO) -> None:
    """NULL is an empty field; lists and structs are JSON."""
    names, rows = answer.rows()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    nested = (list, dict, tuple)
    for row in rows:
        writer.writerow([json.dumps(_plain(v), ensure_ascii=False) if isinstance(v, nested) else v for v in row])


def _write_json(answer: _Answer, file: TextIO) -> None:
    """An array of objects, one a line."""
    names, rows = answer.rows()
    opening = "[\n"
    for row in rows:
        record = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        file.write(opening + json.dumps(record, ensure_ascii=False))
        opening = ",\n"
    file.write("[]\n" if opening == "[\n" else "\n]\n")


def _write_parquet(answer: _Answer, file: Any) -> None:
    import pyarrow.parquet as pq

    batches = answer.batches()
    with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


_WRITING: Mapping[str, _Writing] = {
    "table": _Writing(_write_table),
    "csv": _Writing(_write_csv),
    "json": _Writing(_write_json),
    "parquet": _Writing(_write_parquet, is_binary=True),
}


# --- what there is


def _print_views(out: Console, connection: Any) -> None:
    """Every view with its meaning and its columns with theirs."""
    views = connection.execute(
        "SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'store' AND NOT internal ORDER BY 1"
    ).fetchall()
    columns = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE database_name = 'store' "
        "AND NOT internal ORDER BY table_name, column_index"
    ).fetchall()
    for name, meaning in views:
        own = [(column, _short(kind), doc or "") for table, column, kind, doc in columns if table == name]
        print_lines(out, [f"{name}: {meaning}"])
        print_table(out, ("column", "type", "meaning"), own)
    print_lines(out, [f'{counted(len(views), "view")}. Ask: dj-assets sql "SELECT * FROM verdicts"'])


def _short(kind: str) -> str:
    """A type's name without the fields of a struct."""
    return re.sub(r"STRUCT\(.*\)", "STRUCT", kind)
