"""What is written to a table comes back; half a table is never seen; what is missing is said."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dj_assets.errors import StoreError
from dj_assets.samples import Made, Sample, Video
from dj_assets.store import files
from dj_assets.store.rows import Fact, Provenance, Row, Verdict
from dj_assets.store.schemas import FACTS, SAMPLES, STATS, VERDICTS, Column, Table
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, a_row, a_sample, a_verdict

SAMPLE_CASES = {
    "no rows": [],
    "plain": [a_sample(1), a_sample(2)],
    "no video": [Sample("ds:1", "ds", 1, {"text": "t"})],
    "a malformed line": [Sample("ds:1", "ds", 1, {}, status="malformed", reason="not JSON", raw='{"text": ')],
    "unicode": [replace(a_sample(), record={"text": "日本語 🎬 e\u0301", "ключ": ["ü"]})],
    "zero byte": [replace(a_sample(), raw="a\0b")],
    "nested record": [replace(a_sample(), record={"meta": {"a": [1, 2.5, None, True, {}], "big": 2**70}})],
    "a video that is refused": [
        replace(a_sample(), videos=(Video("clips", 3, "http://x/y.mp4", "", status="refused", reason="a URL"),))
    ],
    "a file name that is not UTF-8": [
        replace(a_sample(), videos=(Video("videos", 0, "caf\udce9.mp4", "/v/caf\udce9.mp4"),))
    ],
    "half a surrogate pair in a record": [replace(a_sample(), record={"text": "\ud83d"})],
    "text that looks escaped": [replace(a_sample(), raw='\ufdd0"x"')],
    "made of another": [
        replace(
            a_sample(),
            parent_id="ds:1",
            parent_recipe="space__1",
            made_by="m",
            measure_id="0" * 16,
            made=(
                Made("/v/caf\udce9_1.mp4", "h1", "/v/caf\udce9.mp4", "h", 0.1, 2.0),
                Made("", "", "/v/x", "", 0.0, 1e9),
            ),
        )
    ],
    "times to the nanosecond": [replace(a_sample(), videos=(replace(a_sample().videos[0], modified_ns=2**62 + 1),))],
}


@pytest.mark.parametrize("samples", SAMPLE_CASES.values(), ids=SAMPLE_CASES.keys())
def test_samples_come_back_as_written(store: Store, samples: list[Sample]) -> None:
    store.write_samples("space", "ds-00000", samples, PROVENANCE)
    assert store.read_samples("space", "ds-00000") == samples


ROW_CASES = {
    "no rows": [],
    "plain": [a_row(1), a_row(2)],
    "not measured": [a_row(value=None, window_values=(), window_details=(), status="crashed", reason="signal 9")],
    "no windows": [a_row(window_values=(), window_details=())],
    "not to be rounded": [a_row(value=0.1 + 0.2, window_values=(1e-308, 1.7976931348623157e308, 3.521110534667969))],
    "infinite": [a_row(value=math.inf, window_values=(-math.inf,))],
    "unicode": [a_row(reason="Datei nicht gefunden: Größe 🎬", window_details=('{"text": "日本"}',))],
    "a reason with a file name that is not UTF-8": [a_row(status="missing", reason="/v/caf\udce9.mp4")],
    "a text with a lone surrogate among details": [a_row(window_details=("plain", "\udce9"))],
}


@pytest.mark.parametrize("rows", ROW_CASES.values(), ids=ROW_CASES.keys())
def test_stats_come_back_as_written(store: Store, rows: list[Row]) -> None:
    store.write_stats("space", "video_motion_score_filter", "ds-00000", rows, PROVENANCE)
    assert store.read_stats("space", "video_motion_score_filter", "ds-00000") == rows


def test_not_a_number_stays_one(store: Store) -> None:
    store.write_stats("space", "motion", "ds-00000", [a_row(value=math.nan)], PROVENANCE)
    value = store.read_stats("space", "motion", "ds-00000")[0].fact.value
    assert value is not None and math.isnan(value)


VERDICT_CASES = {
    "no rows": [],
    "plain": [a_verdict(1), a_verdict(2)],
    "kept": [Verdict("ds:1", "kept")],
    "undecided": [Verdict("ds:1", "undecided", "motion", values=(None,), status="timed_out", reason="after 300 s")],
    "no values": [replace(a_verdict(), values=())],
}


@pytest.mark.parametrize("verdicts", VERDICT_CASES.values(), ids=VERDICT_CASES.keys())
def test_verdicts_come_back_as_written(store: Store, verdicts: list[Verdict]) -> None:
    store.write_verdicts("space", "ds-00000", verdicts, PROVENANCE)
    assert store.read_verdicts("space", "ds-00000") == verdicts


@pytest.mark.parametrize(
    ("table", "nouns", "derived"),
    [
        pytest.param(SAMPLES, (Sample,), {"recipe", "shard"}, id="samples"),
        pytest.param(FACTS, (Fact,), {"run_id", "versions"}, id="facts"),
        pytest.param(STATS, (Row, Fact), {"recipe", "shard", "step"}, id="stats"),
        pytest.param(VERDICTS, (Verdict,), {"recipe", "shard"}, id="verdicts"),
    ],
)
def test_every_field_has_its_column(table: Table, nouns: tuple[type, ...], derived: set[str]) -> None:
    wanted = {field.name for noun in nouns for field in fields(noun)} - {"fact"}
    assert {column.name for column in table.columns} == wanted | derived
    assert len({column.number for column in table.columns}) == len(table.columns)


def test_tables_of_other_shards_steps_and_recipes_are_apart(store: Store) -> None:
    for recipe in ("space", "time"):
        for step in ("motion", "motion_2"):
            for shard in ("ds-00000", "ds-00001"):
                value = float(len(recipe) * 100 + len(step) * 10 + int(shard[-1]))
                store.write_stats(recipe, step, shard, [a_row(value=value)], PROVENANCE)
    assert [row.fact.value for row in store.read_stats("space", "motion_2", "ds-00001")] == [581.0]
    assert [row.fact.value for row in store.read_stats("time", "motion", "ds-00000")] == [460.0]


# --- provenance and ledger ------------------------------------------------------------------------------------------


def test_a_file_says_where_it_comes_from(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(1), a_row(2)], PROVENANCE)
    assert store.stats_provenance("space", "motion", "ds-00000") == replace(PROVENANCE, rows=2)
    about = json.loads(pq.read_metadata(path).metadata[b"dj_assets"])
    assert (about["table"], about["schema_version"], about["provenance"]["run_id"]) == ("stats", 1, "run-1")


def test_the_time_of_writing_is_filled_in(store: Store) -> None:
    before = datetime.now(UTC)
    store.write_stats("space", "motion", "ds-00000", [], replace(PROVENANCE, created_at=""))
    found = store.stats_provenance("space", "motion", "ds-00000")
    assert found is not None and before <= datetime.fromisoformat(found.created_at) <= datetime.now(UTC)


def test_no_provenance_without_a_sound_file(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert store.stats_provenance("space", "motion", "ds-00000") is None
    store.stats_path("space", "motion", "ds-00000").parent.mkdir(parents=True)
    store.stats_path("space", "motion", "ds-00000").write_bytes(b"PAR1 not really")
    assert store.stats_provenance("space", "motion", "ds-00000") is None
    assert "is damaged" in caplog.text


def test_provenance_of_a_later_version_is_read(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row()], PROVENANCE)
    about = json.loads(pq.read_metadata(path).metadata[b"dj_assets"])
    about["provenance"]["planet"] = "Mars"
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"dj_assets": json.dumps(about)}), path)
    assert store.stats_provenance("space", "motion", "ds-00000") == replace(PROVENANCE, rows=1)


def ledger_of(store: Store) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(store.root.glob("ledger/*/*.json"))]


def test_every_table_written_leaves_a_record(store: Store) -> None:
    store.write_samples("space", "ds-00000", [a_sample()], replace(PROVENANCE, asset="space/samples"))
    store.write_stats("space", "motion", "ds-00000", [a_row(1), a_row(2)], PROVENANCE)
    store.write_verdicts("space", "ds-00000", [], replace(PROVENANCE, asset="space/filtered"))
    records = {record["kind"]: record for record in ledger_of(store)}
    assert {kind: record["rows"] for kind, record in records.items()} == {"samples": 1, "stats": 2, "verdicts": 0}
    stats = records["stats"]
    assert stats["path"] == "tables/space/stats/motion/ds-00000.parquet"
    assert stats["num_bytes"] == (store.root / stats["path"]).stat().st_size
    assert {name: stats[name] for name in ("asset", "shard", "recipe", "code_version", "run_id", "created_at")} == {
        "asset": "space/stats/video_motion_score_filter",
        "shard": "ds-00000",
        "recipe": "space",
        "code_version": "0123456789abcdef",
        "run_id": "run-1",
        "created_at": "2026-11-22T10:00:00+00:00",
    }
    assert {path.parent.name for path in store.root.glob("ledger/*/*.json")} == {"2026-11-22"}


def test_the_ledger_keeps_what_a_table_forgets(store: Store) -> None:
    for run in ("run-1", "run-2"):
        store.write_stats("space", "motion", "ds-00000", [a_row()], replace(PROVENANCE, run_id=run))
    assert sorted(record["run_id"] for record in ledger_of(store)) == ["run-1", "run-2"]
    assert len(list(store.root.glob("tables/**/*.parquet"))) == 1


# --- whole or not at all --------------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_table(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)

    def half_a_file(table: pa.Table, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half_a_file)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        store.write_stats("space", "motion", "ds-00000", [a_row(2)], PROVENANCE)
    assert caught.value.allowed and caught.value.try_
    assert store.read_stats("space", "motion", "ds-00000") == [a_row(1)]
    assert len(ledger_of(store)) == 1
    assert [path.name for path in store.root.glob("tables/**/*") if path.is_file()] == ["ds-00000.parquet"]


KILLED_WRITER = """
import os, signal, sys
from dj_assets.store import files
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_row
files.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Store(sys.argv[1]).write_stats("space", "motion", "ds-00000", [a_row(2)], PROVENANCE)
"""


def test_a_killed_writer_leaves_the_old_table_and_a_file_to_sweep(store: Store) -> None:
    store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(store.root)], check=False)
    assert killed.returncode == -9
    assert store.read_stats("space", "motion", "ds-00000") == [a_row(1)]
    assert store.sweep() == []  # it might still be written
    (orphan,) = store.root.glob("tables/**/.*.tmp")
    os.utime(orphan, (0, 0))
    assert store.sweep() == [orphan]
    assert not orphan.exists()


def test_a_sweep_takes_nothing_else(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)
    others = [path.with_name(name) for name in (".notes.tmp", "a.tmp", ".hidden")]
    for other in others:
        other.write_text("mine")
        os.utime(other, (0, 0))
    os.utime(path, (0, 0))
    assert store.sweep() == []


def test_the_index_refresh_sweeps_once_a_day(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)

    def an_orphan() -> Path:
        orphan = files.temporary_beside(path)
        orphan.touch()
        os.utime(orphan, (0, 0))
        return orphan

    first = an_orphan()
    store.refresh_index()
    assert not first.exists()
    second = an_orphan()
    store.refresh_index()
    assert second.exists()


# --- what cannot be read --------------------------------------------------------------------------------------------


def test_a_missing_table_says_what_to_materialize(store: Store) -> None:
    store.write_stats("space", "motion", "ds-00000", [], PROVENANCE)
    with pytest.raises(StoreError) as caught:
        store.read_stats("space", "motion", "ds-00007")
    assert caught.value.given == "there is no table space/stats/motion of shard ds-00007"
    assert caught.value.allowed == "shards that were materialized: ds-00000"
    assert caught.value.try_ == "materialize space/stats/motion for partition ds-00007 first"


def test_other_missing_tables_are_named_as_assets(store: Store) -> None:
    with pytest.raises(StoreError, match="space/samples"):
        store.read_samples("space", "ds-00000")
    with pytest.raises(StoreError, match="space/filtered"):
        store.read_verdicts("space", "ds-00000")


@pytest.mark.parametrize("kept", [0, 4, 1000, -8, -1], ids=["empty", "magic only", "half", "no footer", "a byte short"])
def test_a_damaged_table_is_named(store: Store, kept: int) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(number) for number in range(50)], PROVENANCE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError, match="is damaged") as caught:
        store.read_stats("space", "motion", "ds-00000")
    assert str(path) in caught.value.given and caught.value.try_ == "materialize it again"


def test_a_damaged_page_is_named(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(number) for number in range(50)], PROVENANCE)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 400 + content[404:])
    with pytest.raises(StoreError, match="is damaged"):
        store.read_stats("space", "motion", "ds-00000")


def test_a_file_from_before_a_column_existed_reads_with_its_default(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)
    older = pq.ParquetFile(path).read().drop_columns(["reused", "device", "window_details", "cost_seconds"])
    pq.write_table(older, path)
    (row,) = store.read_stats("space", "motion", "ds-00000")
    assert row == replace(a_row(1, device="cpu", window_details=(), cost_seconds=0.0), reused=False)


def test_a_file_from_a_later_version_reads_without_its_new_column(store: Store) -> None:
    path = store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)
    later = pq.ParquetFile(path).read().append_column("planet", pa.array(["Mars"]))
    pq.write_table(later, path)
    assert store.read_stats("space", "motion", "ds-00000") == [a_row(1)]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", "a/b", "/etc", "../up", ".hidden", "-rf", "a b", "a\n", "ü", "a\0", "a*", "x" * 151],
)
def test_names_that_are_no_file_names_are_refused(store: Store, name: str) -> None:
    for attempt in (
        lambda: store.write_stats(name, "motion", "ds-00000", [], PROVENANCE),
        lambda: store.write_stats("space", name, "ds-00000", [], PROVENANCE),
        lambda: store.write_stats("space", "motion", name, [], PROVENANCE),
        lambda: store.read_samples("space", name),
        lambda: store.export_parts(name),
        lambda: store.find_facts(name, "m", ["x"]),
        lambda: store.append_facts([a_fact(measure_id=name)], PROVENANCE),
    ):
        with pytest.raises(StoreError, match="cannot be a file name"):
            attempt()
    assert not store.root.exists()


# --- the store itself -----------------------------------------------------------------------------------------------


def test_the_root_does_not_depend_on_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("store"))
    store.write_samples("space", "ds-00000", [a_sample()], PROVENANCE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.read_samples("space", "ds-00000") == [a_sample()]


def test_folders_named_like_partitions_are_no_columns(tmp_path: Path) -> None:
    """`pq.read_table` takes `shard=7` above the store for a column and then refuses the file's own of that name."""
    store = Store(tmp_path / "shard=7" / "recipe=x")
    store.write_samples("space", "ds-00000", [a_sample()], PROVENANCE)
    assert store.read_samples("space", "ds-00000") == [a_sample()]


def test_a_store_travels_to_worker_processes(store: Store) -> None:
    assert pickle.loads(pickle.dumps(store)) == store


def test_export_parts_is_a_folder_of_the_recipe(store: Store) -> None:
    assert store.export_parts("space").is_dir()
    assert store.export_parts("space") == store.export_parts("space") != store.export_parts("time")


def test_importing_the_store_loads_neither_arrow_nor_duckdb() -> None:
    code = (
        "import sys, dj_assets.store.store; print(sorted({'pyarrow', 'duckdb', 'dagster', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_column_is_declared_with_what_old_files_lack() -> None:
    """Columns are only ever added, so that each needs an answer for the files before it."""
    table = Table(
        "t", "", (Column(1, "a", "text", ""), Column(2, "n", "numbers", "", ()), Column(3, "f", "flag", "", True))
    )
    old = pa.table({"a": ["x"]})
    assert table.unpack(old) == [{"a": "x", "n": [], "f": True}]


def test_provenance_fields_are_in_the_ledger() -> None:
    from dj_assets.store import ledger

    assert {field.name for field in fields(Provenance)} <= set(ledger.COLUMNS)


def test_a_conformed_table_has_the_field_ids_that_the_views_find_columns_by() -> None:
    """Left as it was for its right types, a table was written without them, and DuckDB read nothing but defaults."""
    bare = STATS.arrow.remove_metadata().empty_table()
    bare = bare.cast(pa.schema([field.remove_metadata() for field in bare.schema]))
    assert all(field.metadata for field in STATS.conform(bare).schema)
