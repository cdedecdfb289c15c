"""Manifest files, record by record: JSONL, JSON arrays and Parquet, compressed or not, in bounded memory.

An entry is a record before anybody asked whether it is a sample. What the data is guilty of (a broken line, a
cut-off archive) comes as an entry with a fault; what the environment is guilty of (no such file, no
permission) raises.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dj_assets.errors import Malformed, RecipeError

MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet")
"""`.json` holds one array, or one record per line. `.jsonl` holds lines only."""

MAX_RECORD_BYTES = 64 * 2**20
"""A longer record is not read into memory: a video renamed to .jsonl may have no line end at all."""

MAX_DEPTH = 100
"""Deeper nesting is a fault, so that it can exhaust no later reader of the record (JSON, Arrow, DuckDB)."""

_CHUNK_BYTES = 2**20
_HEAD_BYTES = 2**16
"""How much of an oversized record is kept for people to recognise it by."""

_CODECS = {".jsonl.gz": "gzip", ".jsonl.zst": "zstd"}
_BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One record of a manifest.

    number: 1-based; of the line (blank ones count), array element or Parquet row: what `place` says.
    data: the record's bytes, or the row. fault: why it is no record; empty for none.
    """

    number: int
    data: bytes | dict[str, Any]
    fault: str = ""
    place: str = "line"


def manifest_suffix(name: str, known: Iterable[str] = MANIFEST_SUFFIXES) -> str:
    """The known suffix that a file name ends in, the longest of several; empty for none. Ignores case."""
    lower = name.lower()
    return max((suffix for suffix in known if lower.endswith(suffix)), key=len, default="")


def num_entries(path: Path) -> int:
    """Number of entries that `entries` gives. Reads the whole file, once per size and modification time."""
    info = _regular_file(path)
    return _count(path, info.st_size, info.st_mtime_ns)


@lru_cache(maxsize=32_768)
def _count(path: Path, num_bytes: int, modified_ns: int) -> int:
    # Cached by what changes with the content: a sensor counts the same manifests at every tick.
    return sum(1 for _ in entries(path))


def entries(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
    """Entries `start` to `stop` (0-based) of a manifest, blank lines left out.

    A manifest without any record gives one faulty entry, so that an empty delivery is seen.
    Raises `RecipeError` where the file cannot be opened or read.
    """
    _regular_file(path)
    suffix = manifest_suffix(path.name)
    if suffix == ".parquet":
        found = _parquet_entries(path, start, stop)
    else:
        found = islice(_text_entries(path, suffix, start), None if stop is None else max(stop - start, 0))
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
    elif start == 0:
        yield Entry(1, b"", "the manifest holds no record")


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object that the bytes hold. Raises `Malformed` with the reason."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 (0x{data[error.start]:02x} at byte {error.start + 1})") from None
    if not _is_shallow(data):
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON ({error.msg} at character {error.pos + 1})") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits
        raise Malformed(f"not readable JSON ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise Malformed(f"{json_type(value)}, expected a JSON object")
    return value


def json_type(value: Any) -> str:
    """What a value is, in JSON's words and with its article: `a number`, `null`, `an array`."""
    for kind, name in _JSON_TYPES:
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"


_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


def one_line(error: Exception) -> str:
    """An error's message without line ends, cut at 300 characters."""
    return " ".join(str(error).split())[:300]


def unreadable(path: str | Path, why: str) -> RecipeError:
    """The error for a file or folder that the environment keeps from being read."""
    return RecipeError(
        f"dataset {str(path)!r} cannot be read: {why}",
        allowed="regular files and folders that this user may read",
        try_="mend its permissions, or move it out of the dataset",
        option="dataset_path",
    )


def _regular_file(path: Path) -> os.stat_result:
    try:
        info = path.stat()
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from None
    if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for ever
        raise unreadable(path, "not a regular file")
    return info


# --- text


def _text_entries(path: Path, suffix: str, start: int) -> Iterator[Entry]:
    try:
        with _open(path, suffix) as stream:
            if suffix == ".json" and _first_byte(stream) == b"[":
                yield from islice(_array_elements(stream), start, None)
            else:
                yield from _lines(stream, start)
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from None


def _open(path: Path, suffix: str) -> io.BufferedReader:
    if suffix not in _CODECS:
        return path.open("rb")
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression=_CODECS[suffix]))


def _first_byte(stream: io.BufferedReader) -> bytes:
    return stream.peek(4096).removeprefix(_BOM).lstrip()[:1]


def _lines(stream: io.BufferedReader, start: int) -> Iterator[Entry]:
    """Lines that are not blank, from the `start`-th on. Those before it are only counted: shards far down a
    manifest skip most of it."""
    number = num_records = 0
    try:
        while line := stream.readline(MAX_RECORD_BYTES + 1):
            number += 1
            fault = ""
            if number == 1:
                line = line.removeprefix(_BOM)
            if len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
                line, fault = _head(stream, line), f"longer than {MAX_RECORD_BYTES} bytes"
            elif not line.strip():
                continue
            num_records += 1
            if num_records > start:
                yield Entry(number, line.rstrip(b"\r\n"), fault)
    except OSError as error:
        if error.errno is not None:  # the disk's fault, not the data's: a later run may succeed
            raise
        if num_records >= start:
            yield Entry(number + 1, b"", f"the compressed data breaks off after this ({one_line(error)})")


def _head(stream: io.BufferedReader, line: bytes) -> bytes:
    """The beginning of an oversized line, the rest of which is read and forgotten."""
    head = line[:_HEAD_BYTES]
    while line and not line.endswith(b"\n"):
        line = stream.readline(MAX_RECORD_BYTES)
    return head


_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
"""A whole JSON string, or a bracket or comma outside one. A lone quote opens a string that is cut off."""


def _array_elements(stream: io.BufferedReader) -> Iterator[Entry]:
    """Elements of one JSON array, told apart by strings and brackets alone.

    A JSON parser would stop at the first broken element and could not say where the next one begins.
    """
    number = depth = 0
    buffer = stream.read(_CHUNK_BYTES)
    start = position = buffer.index(b"[") + 1  # of the element; of the scan
    while True:
        for token in _TOKEN.finditer(buffer, position):
            position = token.end()
            if token[0] == b'"':
                position = token.start()  # look again when more of the string is there
                break
            if token[0] in (b"[", b"{"):
                depth += 1
            elif token[0] in (b"]", b"}"):
                depth -= 1
                if depth < 0:
                    rest = buffer[position:] + stream.read(_HEAD_BYTES)
                    yield from _end_of_array(number, buffer[start : token.start()], rest)
                    return
            elif token[0] == b"," and depth == 0:
                number += 1
                yield Entry(number, buffer[start : token.start()], place="element")
                start = position
        else:
            position = len(buffer)
        buffer, position, start = buffer[start:], position - start, 0
        more = stream.read(_CHUNK_BYTES)
        if not more or len(buffer) > MAX_RECORD_BYTES:
            why = "the array has no end" if not more else f"longer than {MAX_RECORD_BYTES} bytes"
            yield Entry(number + 1, buffer[:_HEAD_BYTES], f"{why}; nothing after this is read", "element")
            return
        buffer += more


def _end_of_array(number: int, last: bytes, rest: bytes) -> Iterator[Entry]:
    if last.strip():
        number += 1
        yield Entry(number, last, place="element")
    if rest.strip():
        yield Entry(number + 1, rest, "text after the end of the array", "element")


def _is_shallow(data: bytes) -> bool:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:  # true of nearly every record, and cheap
        return True
    depth = 0
    for token in _TOKEN.finditer(data):
        depth += (token[0] in (b"[", b"{")) - (token[0] in (b"]", b"}"))
        if depth > MAX_DEPTH:
            return False
    return True


# --- Parquet


def _parquet_entries(path: Path, start: int, stop: int | None) -> Iterator[Entry]:
    """Rows of a Parquet file; row groups outside `start` to `stop` are not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise unreadable(path, one_line(error)) from None
        if start == 0:
            yield Entry(1, b"", f"not a Parquet file ({one_line(error)})", "row")
        return
    with file:
        first = 0
        for group in range(file.num_row_groups):
            num_rows = file.metadata.row_group(group).num_rows
            begin, end = max(start - first, 0), num_rows if stop is None else min(stop - first, num_rows)
            if begin < end:
                yield from islice(_row_group_entries(file, group, first, num_rows), begin, end)
            first += num_rows


def _row_group_entries(file: Any, group: int, first: int, num_rows: int) -> Iterator[Entry]:
    """Rows of one group, numbered from `first` + 1; what cannot be decoded gives a faulty entry per row."""
    import pyarrow as pa

    done = 0
    fault = "the row group ends early"
    try:
        for batch in file.iter_batches(batch_size=256, row_groups=[group]):
            for row, row_fault in _rows(batch):
                done += 1
                yield Entry(first + done, row, row_fault, "row")
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        fault = f"the row group cannot be read ({one_line(error)})"
    for number in range(first + done + 1, first + num_rows + 1):
        yield Entry(number, b"", fault, "row")


def _rows(batch: Any) -> list[tuple[Any, str]]:
    """(row, fault) of each row of a batch. A value that Python cannot hold costs its row, not the batch."""
    batch = _without_nanoseconds(batch)
    try:
        return [(row, "") for row in batch.to_pylist()]
    except (ValueError, OverflowError):
        return [_row(batch, index) for index in range(batch.num_rows)]


def _row(batch: Any, index: int) -> tuple[Any, str]:
    try:
        return batch.slice(index, 1).to_pylist()[0], ""
    except (ValueError, OverflowError) as error:
        return b"", f"a value cannot be read ({one_line(error)})"


def _without_nanoseconds(batch: Any) -> Any:
    """Python's times end at microseconds. Finer columns become those where nothing is lost; where something
    is, timestamps become text, times and durations a number of nanoseconds."""
    import pyarrow as pa

    def convert(column: Any) -> Any:
        kind = column.type
        if not pa.types.is_temporal(kind) or getattr(kind, "unit", "") != "ns":
            return column
        try:
            return column.cast(_in_microseconds(kind))
        except pa.ArrowInvalid:
            return column.cast(pa.string() if pa.types.is_timestamp(kind) else pa.int64())

    return pa.RecordBatch.from_arrays([convert(column) for column in batch.columns], names=batch.schema.names)


def _in_microseconds(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz)
    return pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")
