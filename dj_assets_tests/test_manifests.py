"""Manifest files of every kind give the same entries; what is broken costs itself only."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets import manifests
from dj_assets.errors import Malformed, RecipeError
from dj_assets.manifests import Entry, entries, num_entries, parse_object

RECORDS: list[dict[str, Any]] = [{"text": f'п{n} ]}},[{{\\" "', "videos": [f"v{n}.mp4"]} for n in range(5)]


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    """A manifest of the kind that the path's suffix says."""
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), path, row_group_size=2)
    elif path.name.endswith(".zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(lines(records))
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(records)))
    elif path.name == "array.json":
        path.write_text(json.dumps(records, indent=2))
    else:
        path.write_bytes(lines(records))
    return path


def sound(found: list[Entry]) -> list[dict[str, Any]]:
    assert not [entry for entry in found if entry.fault]
    return [entry.data if isinstance(entry.data, dict) else parse_object(entry.data) for entry in found]


@pytest.mark.parametrize(
    "name", ["a.jsonl", "A.JSONL", "a.json", "array.json", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"]
)
def test_every_kind_gives_the_same_records(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, RECORDS)
    assert num_entries(path) == 5
    assert sound(list(entries(path))) == RECORDS
    assert sound(list(entries(path, 1, 3))) == RECORDS[1:3]
    assert sound(list(entries(path, 3, 99))) == RECORDS[3:]
    assert [entry.number for entry in entries(path, 3, 99)] == [4, 5]
    assert list(entries(path, 5, 99)) == []


def test_blank_lines_are_no_records_but_count_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n   \n{"a": 2}')
    assert [(entry.number, sound([entry])[0]) for entry in entries(path)] == [(1, {"a": 1}), (4, {"a": 2})]
    assert num_entries(path) == 2


def test_a_count_is_taken_again_when_the_file_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", RECORDS)
    assert num_entries(path) == 5
    write(path, RECORDS[:2])
    assert num_entries(path) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1', "not JSON (Expecting ',' delimiter at character 8)"),
        (b'{"a": 1} {"a": 2}', "not JSON (Extra data at character 10)"),
        (b'{"a": "\xff"}', "not UTF-8 (0xff at byte 8)"),
        (b"[1, 2]", "an array, expected a JSON object"),
        (b"null", "null, expected a JSON object"),
        (b"true", "true or false, expected a JSON object"),
        (b"3.5", "a number, expected a JSON object"),
        (b'"v.mp4"', "a string, expected a JSON object"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 100 levels"),
        (b"[" * 100_000, "nested deeper than 100 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable JSON (Exceeds the limit"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_what_is_no_object_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_object(data)
    assert caught.value.given.startswith(reason)


def test_brackets_in_strings_are_no_nesting() -> None:
    assert parse_object(b'{"a": "' + b"[" * 500 + b'"}') == {"a": "[" * 500}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1}, {"a": 2}]', [(1, "", {"a": 1}), (2, "", {"a": 2})]),
        ('\n [{"a": 1},]\n', [(1, "", {"a": 1})]),
        ('[{"a": 1}, {"a": nope}, {"a": 3}]', [(1, "", {"a": 1}), (2, "not JSON", None), (3, "", {"a": 3})]),
        ('[{"a": 1}, 7, {"a": 3}]', [(1, "", {"a": 1}), (2, "a number", None), (3, "", {"a": 3})]),
        ('[{"a": 1}, {"a": 2', [(1, "", {"a": 1}), (2, "the array has no end", None)]),
        ('[{"a": "x', [(1, "the array has no end", None)]),
        ('[{"a": 1}] {"a": 2}', [(1, "", {"a": 1}), (2, "text after the end", None)]),
        ("[]", [(1, "the manifest holds no record", None)]),
    ],
)
def test_a_broken_array_element_costs_itself_only(tmp_path: Path, text: str, expected: list[Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    found: list[Any] = []
    for entry in entries(path):
        assert isinstance(entry.data, bytes)
        try:
            found.append((entry.number, entry.fault, None if entry.fault else parse_object(entry.data)))
        except Malformed as error:
            found.append((entry.number, error.given, None))
    assert len(found) == len(expected) == num_entries(path)
    for (number, fault, record), (expected_number, expected_fault, expected_record) in zip(
        found, expected, strict=True
    ):
        assert (number, record) == (expected_number, expected_record)
        assert fault.startswith(expected_fault) and bool(fault) == bool(expected_fault)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    records=st.lists(st.dictionaries(st.text(), json_values), min_size=1),
    ascii_only=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_array_elements_are_cut_where_json_cuts_them(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], ascii_only: bool, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.json"
    path.write_bytes(json.dumps(records, ensure_ascii=ascii_only).encode("utf-8", "replace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "_CHUNK_BYTES", chunk)
        assert sound(list(entries(path))) == json.loads(path.read_bytes())


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["no bytes", "blank lines"])
def test_an_empty_manifest_is_seen(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    if name.endswith(".zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(entries(path)) == [Entry(1, b"", "the manifest holds no record")]
    assert num_entries(path) == 1


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_an_archive_that_breaks_off_gives_what_could_be_read_and_one_fault(tmp_path: Path, name: str) -> None:
    records = [{"n": os.urandom(200).hex()} for _ in range(500)]
    path = write(tmp_path / name, records)
    path.write_bytes(path.read_bytes()[:-20_000])
    found = list(entries(path))
    assert 100 < len(found) < 500
    assert sound(found[:-1]) == records[: len(found) - 1]
    assert (found[-1].number, found[-1].fault[:27]) == (len(found), "the compressed data breaks ")
    assert num_entries(path) == len(found)
    assert list(entries(path, len(found) - 1)) == found[-1:]
    assert list(entries(path, len(found))) == []


def test_what_is_not_compressed_at_all_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b'{"a": 1}\n')
    assert [entry.number for entry in entries(path) if entry.fault] == [1]


def test_an_oversized_line_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MAX_RECORD_BYTES", 100)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 1000 + b'\n{"a": 3}\n')
    found = list(entries(path))
    assert [(entry.number, entry.fault) for entry in found] == [(1, ""), (2, "longer than 100 bytes"), (3, "")]


def test_an_oversized_array_element_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MAX_RECORD_BYTES", 100)
    monkeypatch.setattr(manifests, "_CHUNK_BYTES", 10)
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, "' + "x" * 1000 + '"]')
    assert [(e.number, e.fault[:24]) for e in entries(path)] == [(1, ""), (2, "longer than 100 bytes; n")]


def test_a_file_that_is_no_parquet_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 not really")
    (entry,) = entries(path)
    assert (entry.number, entry.place) == (1, "row")
    assert entry.fault.startswith("not a Parquet file (")
    assert list(entries(path, 1, 2)) == []


def test_a_damaged_row_group_costs_its_rows_only(tmp_path: Path) -> None:
    records = [{"text": os.urandom(500).hex()} for _ in range(6)]
    path = write(tmp_path / "a.parquet", records)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    data[start : start + 300] = b"\xff" * 300
    path.write_bytes(data)
    found = list(entries(path))
    assert [bool(entry.fault) for entry in found] == [False, False, True, True, False, False]
    assert [entry.number for entry in found] == [1, 2, 3, 4, 5, 6]
    assert sound(found[:2] + found[4:]) == records[:2] + records[4:]


def test_parquet_rows_keep_their_types(tmp_path: Path) -> None:
    row = {
        "blob": b"\x00\xff",
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, 12, 30, 0, 123456),
        "zoned": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        "clock": time(23, 59, 59, 1),
        "took": timedelta(days=1, microseconds=1),
        "price": Decimal("1.50"),
        "nested": {"list": [{"x": 1}, {"x": None}]},
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    assert sound(list(entries(path))) == [row]


def test_nanoseconds_become_microseconds_or_text_but_are_never_cut(tmp_path: Path) -> None:
    whole, odd = 1_704_067_200_123_456_000, 1_704_067_200_123_456_789
    table = pa.table(
        {
            "whole": pa.array([whole], pa.timestamp("ns")),
            "odd": pa.array([odd], pa.timestamp("ns", "UTC")),
            "took": pa.array([1], pa.duration("ns")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert sound(list(entries(tmp_path / "a.parquet"))) == [
        {"whole": datetime(2024, 1, 1, 0, 0, 0, 123456), "odd": "2024-01-01 00:00:00.123456789Z", "took": 1}
    ]


def test_a_value_that_python_cannot_hold_costs_its_row(tmp_path: Path) -> None:
    text = pa.array([b"sound", b"\xff\xfe", b"sound"]).view(pa.string())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    found = list(entries(tmp_path / "a.parquet"))
    assert [entry.fault[:24] for entry in found] == ["", "a value cannot be read (", ""]


def test_what_the_environment_refuses_raises_in_three_parts(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    for name, why in [("pipe.jsonl", "not a regular file"), ("link.jsonl", "No such file")]:
        with pytest.raises(RecipeError, match=why) as caught:
            num_entries(tmp_path / name)
        assert caught.value.allowed and caught.value.try_
