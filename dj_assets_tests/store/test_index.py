"""stats.duckdb: what people see of the store, from their own tools, while runs go on; never a run's trouble."""

from __future__ import annotations

import fcntl
import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from dj_assets.samples import Sample
from dj_assets.store import index
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, a_row, a_sample, a_verdict, a_video, content_hash, query

STORAGE_VERSION_OF_1_4 = 67


@pytest.fixture
def filled(store: Store) -> Store:
    """One table of each kind, the index in place."""
    samples = [replace(a_sample(1), videos=(a_video(1), replace(a_video(2), position=1))), Sample("ds:3", "ds", 3, {})]
    store.write_samples("space", "ds-00000", samples, PROVENANCE)
    store.write_stats("space", "motion", "ds-00000", [a_row(1), a_row(2, value=None, status="crashed")], PROVENANCE)
    store.write_verdicts("space", "ds-00000", [a_verdict(1)], PROVENANCE)
    store.append_facts([a_fact(1), a_fact(2)], PROVENANCE)
    assert store.refresh_index() is None
    return store


def views(path: Path) -> set[str]:
    return {name for (name,) in query(path, "SELECT view_name FROM duckdb_views() WHERE NOT internal")}  # type: ignore[misc]


# --- what people see ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        (
            "SELECT shard, sample_id, line_number FROM samples ORDER BY 3",
            [["ds-00000", "ds:1", 1], ["ds-00000", "ds:3", 3]],
        ),
        ("SELECT record ->> '$.text' FROM samples WHERE sample_id = 'ds:1'", [["t"]]),
        (
            "SELECT sample_id, position, path FROM videos ORDER BY 2",
            [["ds:1", 0, "/videos/1.mp4"], ["ds:1", 1, "/videos/2.mp4"]],
        ),
        (
            "SELECT step, value, status, reused FROM stats ORDER BY 2",
            [["motion", 1.5, "ok", True], ["motion", None, "crashed", True]],
        ),
        ("SELECT sum(list_sum(window_values)) FROM stats WHERE status = 'ok'", [[3.0]]),
        ("SELECT outcome, values, bound FROM verdicts", [["dropped", [1.5, None], "video_motion_score >= 2"]]),
        ("SELECT count(*), min(run_id) FROM facts", [[2, "run-1"]]),
        ("SELECT kind, rows FROM materializations ORDER BY kind", [["samples", 2], ["stats", 2], ["verdicts", 1]]),
        (
            "SELECT path FROM videos JOIN facts USING (content_hash) WHERE value > 1 ORDER BY 1",
            [["/videos/1.mp4"], ["/videos/2.mp4"]],
        ),
    ],
)
def test_questions(filled: Store, sql: str, answer: list) -> None:
    assert query(filled.index_path, sql) == answer


ASK = """
import duckdb, sys
connection = duckdb.connect("duckdb:" + sys.argv[1], read_only=True)
print(connection.execute(sys.argv[2]).fetchall())
"""


def test_any_process_in_any_folder_may_ask(filled: Store, tmp_path: Path) -> None:
    asked = [sys.executable, "-c", ASK, str(filled.index_path), "SELECT count(*), max(path) FROM stats"]
    for folder in (tmp_path, Path("/")):
        done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[(2, '/videos/2.mp4')]"


def test_every_view_and_column_says_what_it_is(filled: Store) -> None:
    undocumented = query(
        filled.index_path,
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL UNION ALL "
        "SELECT table_name || '.' || column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL",
    )
    assert undocumented == []
    assert views(filled.index_path) == {view.name for view in index.VIEWS} - {"measures", "exports", "probes"} | {
        "stat_video_motion_score"
    }


def test_facts_are_shown_once_however_often_they_were_measured(store: Store) -> None:
    early, late = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    store.append_facts([a_fact(1, value=1.0, measured_at=early)], PROVENANCE)
    store.append_facts([a_fact(1, value=2.0, measured_at=late)], PROVENANCE)
    store.append_facts([a_fact(1, value=None, status="crashed", measured_at=late)], PROVENANCE)
    store.append_facts([a_fact(2, value=None, status="crashed", measured_at=late)], PROVENANCE)
    store.refresh_index()
    assert query(store.index_path, "SELECT value, status FROM facts ORDER BY status") == [
        [None, "crashed"],
        [2.0, "ok"],
    ]
    assert query(store.index_path, "SELECT count(*) FROM facts_log") == [[4]]


def test_a_table_written_later_is_seen_without_a_refresh(filled: Store) -> None:
    filled.write_stats("time", "motion", "ds-00001", [a_row(7)], PROVENANCE)
    assert query(filled.index_path, "SELECT recipe FROM stats ORDER BY ALL") == [["space"], ["space"], ["time"]]


def test_files_from_before_a_column_existed_are_shown_with_its_default(filled: Store) -> None:
    path = filled.stats_path("space", "motion", "ds-00000")
    pq.write_table(
        pq.ParquetFile(path).read().drop_columns(["device", "value", "window_values", "cost_seconds", "reused"]), path
    )
    filled.write_stats("space", "motion", "ds-00001", [a_row(3, device="cuda")], PROVENANCE)
    rows = query(
        filled.index_path,
        "SELECT device, value, window_values, cost_seconds, reused FROM stats ORDER BY shard, sample_id",
    )
    assert rows == [["cpu", None, [], 0.0, False], ["cpu", None, [], 0.0, False], ["cuda", 1.5, [1.0, 2.0], 0.25, True]]


@pytest.mark.parametrize("folder", ["it's", "a b", "[x]", "q*", "{a,b}", "shard=7", "日本", "per%cent"])
def test_the_store_may_lie_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    store = Store(tmp_path / folder / "store")
    store.write_stats("space", "motion", "ds-00000", [a_row(1)], PROVENANCE)
    assert store.refresh_index() is None
    assert query(store.index_path, "SELECT shard, value FROM stats") == [["ds-00000", 1.5]]


def test_the_file_opens_in_duckdb_1_4(filled: Store) -> None:
    """DuckDB 2.0 would write 'version number 999', which no 1.x opens. After the magic word comes the version."""
    header = filled.index_path.read_bytes()[:64]
    assert header[8:12] == b"DUCK"
    assert int.from_bytes(header[12:20], "little") <= STORAGE_VERSION_OF_1_4


# --- refreshing -----------------------------------------------------------------------------------------------------


def test_an_empty_store_has_no_index(store: Store) -> None:
    assert store.refresh_index() is None
    assert not store.root.exists()


def test_views_come_with_their_first_file(store: Store) -> None:
    store.write_samples("space", "ds-00000", [a_sample()], PROVENANCE)
    store.refresh_index()
    assert views(store.index_path) == {"samples", "videos", "products", "materializations"}
    store.append_facts([a_fact()], PROVENANCE)
    store.refresh_index()
    assert views(store.index_path) == {
        *{"samples", "videos", "products", "materializations"},
        *{"facts", "facts_log", "costs"},
    }


def test_each_stat_has_a_view_of_its_own_from_its_first_table_on(filled: Store) -> None:
    filled.write_stats("time", "ratio", "ds-00000", [a_row(7, stat="ratio", value=0.5)], PROVENANCE)
    filled.write_stats("time", "motion", "ds-00000", [a_row(8, value=2.5)], PROVENANCE)
    assert filled.refresh_index() is None
    assert {name for name in views(filled.index_path) if name.startswith("stat_")} == {
        "stat_ratio",
        "stat_video_motion_score",
    }
    assert query(filled.index_path, "SELECT recipe, value FROM stat_ratio") == [["time", 0.5]]
    assert query(filled.index_path, "SELECT value FROM stat_video_motion_score ORDER BY 1") == [[1.5], [2.5], [None]]


def test_lineage_leads_from_a_verdict_to_the_run_that_measured(filled: Store) -> None:
    """Compacted files stay for a while beside the new one: there is one line per number all the same."""
    paths = [filled.append_facts([a_fact(number)], PROVENANCE)[0] for number in (3, 1)]
    filled.compact_facts("video_motion_score_filter", "0123456789abcdef", paths)
    filled.describe_measure(MeasureInfo("video_motion_score_filter", "0123456789abcdef", 4, {"sampling_fps": 2.0}))
    assert filled.refresh_index() is None
    assert query(filled.index_path, "SELECT params ->> '$.sampling_fps' FROM measures") == [["2.0"]]
    assert query(
        filled.index_path, "SELECT sample_id, operator_version, run_id, outcome, exported_to FROM lineage"
    ) == [["ds:1", 4, "run-1", "dropped", []]]


def test_costs_count_a_piece_of_work_once_whatever_the_stats_it_gave(store: Store) -> None:
    both = [a_fact(1, stat="width", cost_seconds=0.5), a_fact(1, stat="height", cost_seconds=0.5)]
    store.append_facts([*both, a_fact(2, stat="width", value=None, status="too_short", cost_seconds=1.5)], PROVENANCE)
    store.refresh_index()
    sql = "SELECT videos, failures, seconds, seconds_per_video FROM costs"
    assert query(store.index_path, sql) == [[2, 1, 2.0, 1.0]]


def test_views_go_with_their_last_file(filled: Store) -> None:
    filled.verdicts_path("space", "ds-00000").unlink()
    assert filled.refresh_index() is None
    assert "verdicts" not in views(filled.index_path)


def test_nothing_is_opened_when_nothing_is_new(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("DuckDB was opened")

    monkeypatch.setattr(duckdb, "connect", opened)
    filled.write_stats("time", "motion", "ds-00001", [a_row(7)], PROVENANCE)
    assert filled.refresh_index() is None


def test_a_deleted_index_is_built_again(filled: Store) -> None:
    everything = {
        name: query(filled.index_path, f"SELECT * FROM {name} ORDER BY ALL") for name in views(filled.index_path)
    }
    filled.index_path.unlink()
    assert filled.refresh_index() is None
    assert everything == {name: query(filled.index_path, f"SELECT * FROM {name} ORDER BY ALL") for name in everything}


DAMAGE = {
    "empty": lambda content: b"",
    "not a database": lambda content: b"x" * 5000,
    "half": lambda content: content[: len(content) // 2],
    "overwritten": lambda content: content[:5000] + b"\xff" * 40_000 + content[45_000:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_index_is_set_aside_and_built_again(filled: Store, damage) -> None:
    broken = damage(filled.index_path.read_bytes())
    filled.index_path.write_bytes(broken)
    warning = filled.refresh_index()
    assert warning is not None and "was damaged" in warning and str(filled.index_path) in warning
    assert query(filled.index_path, "SELECT count(*) FROM stats") == [[2]]
    (aside,) = filled.root.glob("*.damaged")
    assert aside.read_bytes() == broken
    assert filled.refresh_index() is None


def test_a_store_that_moved_shows_its_new_place(filled: Store, tmp_path: Path) -> None:
    moved = Store(filled.root.rename(tmp_path / "moved"))
    assert moved.refresh_index() is None
    assert query(moved.index_path, "SELECT count(*) FROM stats") == [[2]]


def test_a_log_left_by_a_killed_client_does_not_spoil_the_index(filled: Store) -> None:
    filled.index_path.with_name("stats.duckdb.wal").write_bytes(b"left behind")
    filled.index_path.unlink()
    assert filled.refresh_index() is None
    assert query(filled.index_path, "SELECT count(*) FROM stats") == [[2]]


def test_a_damaged_table_takes_no_other_view_down(filled: Store) -> None:
    path = filled.write_stats("space", "motion", "ds-00001", [a_row(1)], PROVENANCE)
    path.write_bytes(b"junk")
    filled.index_path.unlink()
    assert filled.refresh_index() is None
    assert query(filled.index_path, "SELECT count(*) FROM verdicts") == [[1]]
    with pytest.raises(duckdb.Error, match=r"ds-00001\.parquet"):
        query(filled.index_path, "SELECT sum(value) FROM stats")


# --- several at once ------------------------------------------------------------------------------------------------


HOLD_OPEN = """
import duckdb, sys, time
connection = duckdb.connect("duckdb:" + sys.argv[1], read_only=sys.argv[2] == "reading")
print(connection.execute("SELECT count(*) FROM stats").fetchone()[0], flush=True)
sys.stdin.readline()
print(connection.execute("SELECT count(*) FROM stats").fetchone()[0], flush=True)
"""


def holding_open(path: Path, how: str) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [sys.executable, "-c", HOLD_OPEN, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None and client.stdout.readline() == "2\n"
    return client


def test_a_reader_neither_waits_nor_makes_anybody_wait(filled: Store) -> None:
    client = holding_open(filled.index_path, "reading")
    filled.verdicts_path("space", "ds-00000").unlink()
    filled.write_stats("space", "motion", "ds-00001", [a_row(3)], PROVENANCE)
    assert filled.refresh_index() is None
    assert "verdicts" not in views(filled.index_path)
    assert client.communicate("\n", timeout=60)[0] == "3\n"  # its own file is an older one, the rows are the same


def test_a_client_that_writes_costs_a_warning(filled: Store) -> None:
    client = holding_open(filled.index_path, "writing")
    filled.verdicts_path("space", "ds-00000").unlink()
    warning = filled.refresh_index()
    assert warning is not None and "holds it open" in warning
    client.communicate("\n", timeout=60)
    assert filled.refresh_index() is None
    assert "verdicts" not in views(filled.index_path)


def test_a_lock_that_is_held_costs_a_warning(filled: Store) -> None:
    filled.index_path.unlink()
    with (filled.root / "stats.duckdb.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warning = index.refresh(filled.root, patience_seconds=0.1)
    assert warning is not None and "has been held for 0.1 s" in warning
    assert filled.refresh_index() is None


def test_a_folder_that_cannot_be_written_costs_a_warning(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.index_path.unlink()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index, "_build", refused)
    warning = filled.refresh_index()
    assert warning is not None and "Permission denied" in warning


VIEWS = index.VIEWS


def refresh_and_write(root: Path, name: str, rounds: int) -> None:
    store = Store(root)
    for number in range(rounds):
        # Views that differ each time, so that each refresh builds the index anew.
        index.VIEWS = tuple(replace(view, sql=f"{view.sql} /* {name} {number} */") for view in VIEWS)
        paths = [store.append_facts([a_fact(number * 2 + half)], PROVENANCE)[0] for half in (0, 1)]
        store.compact_facts("video_motion_score_filter", "0123456789abcdef", paths)
        store.write_stats(
            name, "motion", "ds-00000", [a_row(k, value=float(number)) for k in range(number * 50)], PROVENANCE
        )
        warning = store.refresh_index()
        assert warning is None, warning


def test_readers_see_whole_tables_while_others_write_and_refresh(filled: Store) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=refresh_and_write, args=(filled.root, name, 3)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers) or reads == 0:
        connection = duckdb.connect(f"duckdb:{filled.index_path}", read_only=True)
        try:
            tables = connection.execute(
                "SELECT recipe, count(*), min(value), max(value) FROM stats WHERE recipe IN ('a', 'b') GROUP BY 1"
            ).fetchall()
            facts = connection.execute("SELECT count(*), count(DISTINCT content_hash) FROM facts").fetchone()
        finally:
            connection.close()
        reads += 1
        time.sleep(0.02)  # the writers need a core too
        assert all(count == 50 * low and low == high for _, count, low, high in tables)
        assert facts is not None and facts[0] == facts[1]
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert query(filled.index_path, "SELECT count(*) FROM stats WHERE recipe IN ('a', 'b')") == [[200]]


def test_the_index_leaves_nothing_beside_itself(filled: Store) -> None:
    assert sorted(path.name for path in filled.root.glob("*duckdb*")) == ["stats.duckdb", "stats.duckdb.lock"]


def test_hashes_join(filled: Store) -> None:
    known = query(filled.index_path, "SELECT DISTINCT content_hash FROM facts ORDER BY 1")
    assert known == sorted([[content_hash(1)], [content_hash(2)]])
