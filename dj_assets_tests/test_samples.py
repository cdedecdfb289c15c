"""Datasets as users have them: found, cut into shards and read, every record once."""

from __future__ import annotations

import json
import os
import re
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dj_assets.errors import RecipeError
from dj_assets.samples import (
    MAX_RAW_CHARACTERS,
    Drop,
    Sample,
    Shard,
    cut_shards,
    dataset_root,
    dumps_record,
    find_drops,
    loads_record,
    manifest_schema,
    read_shard,
    to_json,
)


def put(path: Path, *records: Any) -> Path:
    """A JSONL manifest; a record given as text stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def read_all(
    dataset_path: Path, *, shard_size: int = 1000, suffixes: tuple[str, ...] = (), **options: Any
) -> list[Sample]:
    drops = find_drops(dataset_path, suffixes=suffixes)
    shards = cut_shards(drops, shard_size)
    options = {"video_keys": ["videos"], "suffixes": suffixes} | options
    samples = [sample for shard in shards for sample in read_shard(shard, **options)]
    assert len({sample.sample_id for sample in samples}) == len(samples) == sum(drop.num_samples for drop in drops)
    return samples


def names(dataset_path: Path, **options: Any) -> list[tuple[str, int]]:
    return [(drop.name, drop.num_samples) for drop in find_drops(dataset_path, **options)]


# --- finding


def test_one_manifest(tmp_path: Path) -> None:
    assert names(put(tmp_path / "ds.jsonl", {}, {})) == [("ds.jsonl", 2)]


def test_a_folder_of_manifests_is_searched_to_any_depth_and_sorted(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "deep/er/c.jsonl", ".hidden.jsonl", ".git/d.jsonl"):
        put(tmp_path / name, {})
    touch(tmp_path, "clips/v.mp4", "README.md")
    assert names(tmp_path) == [("a.jsonl", 1), ("b.jsonl", 1), ("deep/er/c.jsonl", 1)]


def test_a_folder_of_videos_without_manifest(tmp_path: Path) -> None:
    folder = touch(tmp_path / "clips", "b.mp4", "sub/a.WEBM", "a.mkv", "notes.txt", ".part.mp4")
    assert names(folder) == [("clips", 3)]
    samples = read_all(folder, shard_size=2)
    assert [sample.record for sample in samples] == [
        {"text": "<__dj__video>", "videos": [name]} for name in ("a.mkv", "b.mp4", "sub/a.WEBM")
    ]
    assert [sample.videos[0].path for sample in samples] == [
        str(folder / name) for name in ("a.mkv", "b.mp4", "sub/a.WEBM")
    ]
    assert [sample.sample_id for sample in samples] == ["clips:1", "clips:2", "clips:3"]


def test_a_folder_of_videos_uses_the_recipes_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (sample,) = read_all(tmp_path, video_keys=["clips"], text_key="caption", video_special_token="<v>")
    assert sample.record == {"caption": "<v>", "clips": ["a.mp4"]}
    assert sample.videos[0].field == "clips"


def test_suffixes_narrow_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", {})
    put(tmp_path / "info.json", {})
    touch(tmp_path, "v.mp4", "v.dav")
    assert names(tmp_path, suffixes=[".jsonl"]) == [("a.jsonl", 1)]
    assert names(tmp_path, suffixes=["JSON"]) == [("info.json", 1)]
    assert names(tmp_path, suffixes=[".mp4", ".dav"]) == [(tmp_path.name, 2)]
    assert len(read_all(tmp_path, suffixes=(".dav",))) == 1


def test_a_glob(tmp_path: Path) -> None:
    for name in ("a1.jsonl", "a2.jsonl", "b.jsonl", "d1/x.jsonl", "d2/deep/y.jsonl"):
        put(tmp_path / name, {})
    touch(tmp_path, "a3.txt")
    assert names(tmp_path / "a*") == [("a1.jsonl", 1), ("a2.jsonl", 1)]
    assert names(tmp_path / "d?") == [("d1/x.jsonl", 1), ("d2/deep/y.jsonl", 1)]
    assert names(tmp_path / "**" / "[xy].jsonl") == [("d1/x.jsonl", 1), ("d2/deep/y.jsonl", 1)]
    assert dataset_root(tmp_path / "d?" / "x.jsonl") == tmp_path


def test_a_path_that_exists_is_no_glob(tmp_path: Path) -> None:
    put(tmp_path / "clips[1].jsonl", {})
    assert names(tmp_path / "clips[1].jsonl") == [("clips[1].jsonl", 1)]
    assert dataset_root(tmp_path / "clips[1].jsonl") == tmp_path


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    disk = touch(tmp_path / "disk", "v.mp4")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "day1").symlink_to(disk)
    (folder / "loop").symlink_to(folder)
    assert names(folder) == [("dataset", 1)]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("dz.jsonl", "does not exist"),
        ("empty", "gives no manifest and no videos"),
        ("*.parquet", "gives no manifest and no videos"),
        ("notes.txt", "is not a manifest"),
        ("v.mp4", "is not a manifest"),
    ],
)
def test_nothing_to_read_is_refused_in_three_parts(tmp_path: Path, given: str, what: str) -> None:
    put(tmp_path / "ds.jsonl", {})
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "notes.txt", "v.mp4")
    with pytest.raises(RecipeError) as caught:
        find_drops(tmp_path / given)
    assert caught.value.given.endswith(what)
    assert ".jsonl.zst" in caught.value.allowed
    assert caught.value.option == "dataset_path"
    if given == "dz.jsonl":
        assert caught.value.try_ == "did you mean ds.jsonl?"


# --- shards


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("ds.jsonl", "ds"),
        ("2024-06_part.1.jsonl", "2024-06_part.1"),
        ("ds.parquet", "ds.parquet"),
        ("ds.jsonl.gz", "ds.jsonl.gz"),
        ("clips", "clips"),
    ],
)
def test_plain_names_are_plain_keys(name: str, prefix: str) -> None:
    shards = cut_shards([Drop(name, Path(name), 5)], 2)
    assert [shard.key for shard in shards] == [f"{prefix}-{n:05d}" for n in range(3)]
    assert [(shard.start, shard.size) for shard in shards] == [(0, 2), (2, 2), (4, 2)]


SAFE_KEY = re.compile(r"[A-Za-z0-9._-]{1,100}")


@given(st.lists(st.text(min_size=1), unique=True, max_size=8))
def test_keys_are_safe_unique_and_the_drops_own(drop_names: list[str]) -> None:
    def drop(name: str) -> Drop:
        return Drop(name.encode("utf-8", "replace").decode(), Path("x"), 1)

    drops = list({drop(name).name: drop(name) for name in drop_names}.values())
    keys = [shard.key for shard in cut_shards(drops, 10)]
    assert len(set(keys)) == len(drops)
    for key, made in zip(keys, drops, strict=True):
        assert SAFE_KEY.fullmatch(key) and ".." not in key and key[0] not in ".-"
        assert [shard.key for shard in cut_shards([made], 10)] == [key]


@pytest.mark.parametrize("name", ["a,b.jsonl", "a b.jsonl", "видео.jsonl", "../a.jsonl", "a...b.jsonl", "x" * 300])
def test_awkward_names_keep_their_keys_apart(name: str) -> None:
    (shard,) = cut_shards([Drop(name, Path(name), 1)], 1)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{8}-00000", shard.key)


def test_a_key_stays_when_other_drops_arrive_and_the_manifest_grows(tmp_path: Path) -> None:
    put(tmp_path / "b c.jsonl", {})
    before = [shard.key for shard in cut_shards(find_drops(tmp_path), 1)]
    put(tmp_path / "a.jsonl", {})
    put(tmp_path / "b-c.jsonl", {})
    put(tmp_path / "b c.jsonl", {}, {})
    after = [shard.key for shard in cut_shards(find_drops(tmp_path), 1)]
    assert set(before) < set(after) and len(set(after)) == 4


@given(num_records=st.integers(1, 30), shard_size=st.integers(1, 12), blanks=st.booleans())
def test_shards_cover_every_record_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, num_records: int, shard_size: int, blanks: bool
) -> None:
    records = [{"n": n} for n in range(num_records)]
    path = put(tmp_path_factory.mktemp("m") / "ds.jsonl", *((r, "")[b] for r in records for b in range(1 + blanks)))
    samples = read_all(path, shard_size=shard_size)
    assert [sample.record for sample in samples] == records
    assert [sample.line_number for sample in samples] == [n * (1 + blanks) + 1 for n in range(num_records)]


def test_a_shard_beyond_the_end_of_a_manifest_that_shrank_is_empty(tmp_path: Path) -> None:
    path = put(tmp_path / "ds.jsonl", {}, {})
    assert read_shard(Shard("ds-00001", "ds.jsonl", path, 2, 2), video_keys=["videos"]) == []


# --- samples


def only(tmp_path: Path, record: Any, **options: Any) -> Sample:
    (sample,) = read_all(put(tmp_path / "ds.jsonl", record), **options)
    return sample


def test_a_sample_keeps_its_record_untouched(tmp_path: Path) -> None:
    record = {
        "text": "Привет <__dj__video> 🎬",
        "videos": ["a.mp4"],
        "extra": {"deep": [1, 2.5, None, {"ключ": True}]},
        "big": 2**80,
        "__dj__stats__": {"video_duration": [3.5]},
    }
    sample = only(tmp_path, record)
    assert sample.record == record
    assert (sample.sample_id, sample.drop, sample.line_number, sample.status) == ("ds.jsonl:1", "ds.jsonl", 1, "ok")


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (["a.mp4", "b.mp4"], ["a.mp4", "b.mp4"]),
        (["a.mp4", "a.mp4"], ["a.mp4", "a.mp4"]),
        ("a.mp4", ["a.mp4"]),
        ([], []),
        (None, []),
    ],
    ids=["several", "repeated", "bare string", "empty", "null"],
)
def test_video_fields(tmp_path: Path, value: Any, given: list[str]) -> None:
    sample = only(tmp_path, {"text": "", "videos": value})
    assert [video.given for video in sample.videos] == given
    assert [video.position for video in sample.videos] == list(range(len(given)))
    assert sample.record["videos"] == value


def test_no_text_and_no_videos_is_a_sample(tmp_path: Path) -> None:
    assert only(tmp_path, {"id": 1}).status == "ok"


def test_several_video_fields(tmp_path: Path) -> None:
    sample = only(tmp_path, {"videos": ["a.mp4"], "clips": ["b.mp4"]}, video_keys=["clips", "videos", "clips"])
    assert [(video.field, video.position, video.given) for video in sample.videos] == [
        ("clips", 0, "b.mp4"),
        ("videos", 0, "a.mp4"),
    ]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("a.mp4", "{folder}/a.mp4"),
        ("sub/./a.mp4", "{folder}/sub/a.mp4"),
        ("../a.mp4", "{parent}/a.mp4"),
        ("/etc/passwd", "/etc/passwd"),
        ("take:2.mp4", "{folder}/take:2.mp4"),
        ("12:30.mp4", "{folder}/12:30.mp4"),
        ("http://host/a.mp4", "http://host/a.mp4"),
        ("S3://bucket/a.mp4", "S3://bucket/a.mp4"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("concat:a.mp4|b.mp4", "concat:a.mp4|b.mp4"),
        ("cache:http://host/a.mp4", "cache:http://host/a.mp4"),
        ("subfile,,start,0,end,9,,:a.mp4", "subfile,,start,0,end,9,,:a.mp4"),
        ("crypto+https:a", "crypto+https:a"),
    ],
)
def test_paths_resolve_against_the_manifest(tmp_path: Path, given: str, path: str) -> None:
    (video,) = only(tmp_path, {"videos": [given]}).videos
    assert video.given == given
    assert video.path == path.format(folder=tmp_path, parent=tmp_path.parent)
    assert video.status == "ok"  # whoever opens files judges them


def test_a_nested_manifest_resolves_against_its_own_folder(tmp_path: Path) -> None:
    put(tmp_path / "day1" / "ds.jsonl", {"videos": ["a.mp4"]})
    (sample,) = read_all(tmp_path)
    assert sample.sample_id == "day1/ds.jsonl:1"
    assert sample.videos[0].path == str(tmp_path / "day1" / "a.mp4")


@pytest.mark.parametrize(
    ("given", "status"), [("", "missing"), ("a\0b.mp4", "refused"), ("half \ud800.mp4", "refused")]
)
def test_what_cannot_be_a_path_says_so(tmp_path: Path, given: str, status: str) -> None:
    sample = only(tmp_path, {"videos": [given]})
    (video,) = sample.videos
    assert (video.path, video.status) == ("", status)
    assert video.reason
    video.given.encode()  # can be stored
    assert sample.record == {"videos": [given]}


def test_a_file_name_that_is_not_utf8_is_refused_and_not_lost(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"")
    (sample,) = read_all(tmp_path)
    assert sample.videos[0].status == "refused"
    assert loads_record(dumps_record(sample.record)) == sample.record


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": ', "line 2: not JSON (Expecting value at character 10)"),
        ("[1]", "line 2: an array, expected a JSON object"),
        ('{"videos": 3}', "line 2: field 'videos' is a number, expected a list of paths"),
        ('{"videos": {"a": 1}}', "line 2: field 'videos' is an object, expected a list of paths"),
        ('{"videos": false}', "line 2: field 'videos' is true or false, expected a list of paths"),
        (
            '{"videos": ["a.mp4", null]}',
            "line 2: field 'videos' holds null at position 1, expected a path",
        ),
        ('{"videos": [["a"]]}', "line 2: field 'videos' holds an array at position 0, expected a path"),
    ],
)
def test_a_line_that_is_no_sample_is_malformed_and_costs_no_other(tmp_path: Path, line: str, reason: str) -> None:
    samples = read_all(put(tmp_path / "ds.jsonl", {"n": 1}, line, {"n": 3}), shard_size=2)
    assert [sample.status for sample in samples] == ["ok", "malformed", "ok"]
    assert samples[1] == Sample("ds.jsonl:2", "ds.jsonl", 2, {}, (), "malformed", reason, line)


def test_raw_text_is_cut_and_invalid_bytes_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "ds.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n{' + b"x" * 50_000)
    invalid, long = read_all(path)
    assert invalid.raw == '{"a": "\\xff"}'
    assert long.raw.endswith("… [cut after 10000 characters]")
    assert len(long.raw) < MAX_RAW_CHARACTERS + 50


def test_an_empty_manifest_is_one_malformed_sample(tmp_path: Path) -> None:
    (tmp_path / "ds.jsonl").write_bytes(b"")
    (sample,) = read_all(tmp_path / "ds.jsonl")
    assert (sample.sample_id, sample.status, sample.reason) == (
        "ds.jsonl:1",
        "malformed",
        "line 1: the manifest holds no record",
    )


def test_elements_of_an_array_on_one_line_have_ids_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('[{"n": 1}, 2, {"n": 3}]')
    samples = read_all(tmp_path / "ds.json")
    assert [sample.sample_id for sample in samples] == ["ds.json:1", "ds.json:2", "ds.json:3"]
    assert samples[1].reason == "element 2: a number, expected a JSON object"


def test_parquet_rows_are_samples(tmp_path: Path) -> None:
    table = pa.table(
        {
            "videos": pa.array([["a.mp4"], None, ["b.mp4", None]], pa.list_(pa.string())),
            "small": pa.array([1, 2, 3], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "ds.parquet")
    good, none, bad = read_all(tmp_path / "ds.parquet", shard_size=2)
    assert good.record == {"videos": ["a.mp4"], "small": 1}
    assert none.videos == ()
    assert bad.reason == "row 3: field 'videos' holds null at position 1, expected a path"
    assert bad.raw == '{"videos": ["b.mp4", null], "small": 3}'
    schema = manifest_schema(tmp_path / "ds.parquet", "ds.parquet")
    assert schema.field("small").type == pa.int8()
    assert manifest_schema(put(tmp_path / "ds.jsonl", {}), "ds.jsonl") is None


def test_a_drop_that_went_away_raises(tmp_path: Path) -> None:
    path = put(tmp_path / "ds.jsonl", {})
    (shard,) = cut_shards(find_drops(path), 10)
    path.unlink()
    with pytest.raises(RecipeError, match="No such file"):
        read_shard(shard, video_keys=["videos"])


# --- records as text


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_json_records_survive_both_ways(record: dict[str, Any]) -> None:
    assert loads_record(dumps_record(record)) == record
    assert json.loads(to_json(record)) == record
    to_json(record).encode("utf-8")


TYPED = {
    "blob": b"\x00\xff",
    "at": datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC),
    "day": date(2024, 2, 29),
    "clock": time(23, 59),
    "took": timedelta(days=-1, microseconds=5),
    "price": Decimal("1.50"),
    "id": uuid.UUID(int=7),
    "map": [("key", b"\x01")],
    "mine": {"__dj_assets_type__": "bytes", "value": "not base64"},
}


def test_typed_records_survive() -> None:
    again = loads_record(dumps_record(TYPED))
    assert again == TYPED
    assert {key: type(value) for key, value in again.items()} == {k: type(v) for k, v in TYPED.items()}


def test_typed_records_are_plain_json_in_exports() -> None:
    assert json.loads(to_json(TYPED)) == {
        "blob": "AP8=",
        "at": "2024-02-29T01:02:03.000004+00:00",
        "day": "2024-02-29",
        "clock": "23:59:00",
        "took": -86399.999995,
        "price": "1.50",
        "id": "00000000-0000-0000-0000-000000000007",
        "map": [["key", "AQ=="]],
        "mine": {"__dj_assets_type__": "bytes", "value": "not base64"},
    }


def test_exports_are_utf8_and_not_escaped() -> None:
    assert to_json({"text": "Привет/🎬"}) == '{"text": "Привет/🎬"}'


def test_products_are_no_samples_of_the_folder_that_they_lie_in(tmp_path: Path) -> None:
    for name in ("a.mp4", "deep/b.mp4", "__dj__produced_data__/cut/a_1.mp4", "deep/__dj__produced_data__/cut/b_1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    [drop] = find_drops(tmp_path)
    assert drop.num_samples == 2
    [shard] = cut_shards([drop], 10)
    names = [sample.videos[0].given for sample in read_shard(shard, video_keys=["videos"])]
    assert names == ["a.mp4", "deep/b.mp4"]
