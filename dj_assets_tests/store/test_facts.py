"""The facts log: found again by content and measure, whoever wrote, whatever happened to one of its files."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from dj_assets.errors import Status, StoreError
from dj_assets.store import facts as facts_log
from dj_assets.store import files
from dj_assets.store.rows import Fact
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, content_hash

OPERATOR = "video_motion_score_filter"
MEASURE = "0123456789abcdef"


def find(store: Store, *numbers: int) -> dict[str, tuple[Fact, ...]]:
    return store.find_facts(OPERATOR, MEASURE, [content_hash(number) for number in numbers])


def parquet_files(store: Store) -> list[Path]:
    return sorted((store.root / "measures" / OPERATOR / MEASURE).glob("*.parquet"))


# --- what is found --------------------------------------------------------------------------------------------------


def test_facts_are_found_by_content(store: Store) -> None:
    store.append_facts([a_fact(1), a_fact(2)], PROVENANCE)
    store.append_facts([a_fact(3)], PROVENANCE)
    assert find(store, 1, 3, 4) == {content_hash(1): (a_fact(1),), content_hash(3): (a_fact(3),)}


def test_nothing_is_found_in_an_empty_store(store: Store) -> None:
    assert find(store, 1) == {}
    assert find(store) == {}


def test_another_measure_of_the_same_operator_is_not_found(store: Store) -> None:
    store.append_facts([a_fact(1, measure_id="other")], PROVENANCE)
    assert find(store, 1) == {}
    assert store.find_facts(OPERATOR, "other", {content_hash(1)}) == {content_hash(1): (a_fact(1, measure_id="other"),)}


def test_all_stats_of_an_operator_come_in_the_order_they_were_added(store: Store) -> None:
    """A rerun must write the rows of its first run; upstream's resolution filter gives width before height."""
    both = [a_fact(number, stat=stat) for number in (2, 1) for stat in ("video_width", "video_height")]
    paths = [*store.append_facts(both[:2], PROVENANCE), *store.append_facts(both[2:], PROVENANCE)]
    for _ in range(2):
        found = find(store, 1, 2)
        assert found == {content_hash(2): tuple(both[:2]), content_hash(1): tuple(both[2:])}
        store.compact_facts(OPERATOR, MEASURE, paths)


def test_files_that_are_known_to_lack_the_videos_are_not_opened_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard of a run used to open the files of all the others: a million times for a thousand shards."""
    for number in range(5):
        store.append_facts([a_fact(number)], PROVENANCE)
    find(store, 99)
    opened: list[Path] = []
    open_parquet = facts_log.open_parquet
    monkeypatch.setattr(facts_log, "open_parquet", lambda path: opened.append(path) or open_parquet(path))
    assert find(store, 3) == {content_hash(3): (a_fact(3),)}
    assert len(opened) == 1
    store.append_facts([a_fact(4, value=7.0, measured_at="2027-01-01T00:00:00+00:00")], PROVENANCE)
    assert find(store, 4)[content_hash(4)][0].value == 7.0, "the new file was not read"
    monkeypatch.setattr(facts_log, "MOST_HASHES", 3)
    assert find(store, *range(5)).keys() == {content_hash(number) for number in range(5)}


EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        pytest.param({"measured_at": EARLY}, {"measured_at": LATE}, 1, id="the newer number"),
        pytest.param({"measured_at": LATE}, {"measured_at": EARLY}, 0, id="the newer number, added first"),
        pytest.param(
            {"measured_at": EARLY}, {"measured_at": LATE, "status": "unreadable"}, 0, id="a number, not a failure"
        ),
        pytest.param(
            {"measured_at": LATE, "status": "too_short"}, {"measured_at": EARLY}, 1, id="even an older number"
        ),
        pytest.param(
            {"measured_at": EARLY, "status": "too_short"},
            {"measured_at": LATE, "status": "unreadable"},
            1,
            id="the newer failure",
        ),
        pytest.param({"measured_at": EARLY}, {"measured_at": LATE, "status": "timed_out"}, 0, id="not what may pass"),
    ],
)
@pytest.mark.parametrize("layout", ["one file", "two files"])
def test_precedence(store: Store, first: dict, second: dict, winner: int, layout: str) -> None:
    facts = [
        a_fact(1, **{"value": None if "status" in changes else float(index), **changes})
        for index, changes in enumerate((first, second))
    ]
    for group in [facts] if layout == "one file" else [[fact] for fact in facts]:
        store.append_facts(group, PROVENANCE)
    assert find(store, 1) == {content_hash(1): (facts[winner],)}


@pytest.mark.parametrize(
    ("status", "lasts"),
    [
        ("ok", True),
        ("unreadable", True),
        ("no_video_stream", True),
        ("too_short", True),
        ("too_large", False),
        ("timed_out", False),
        ("crashed", False),
        ("missing", False),
        ("refused", False),
    ],
)
def test_only_what_follows_from_content_is_found(store: Store, status: str, lasts: bool) -> None:
    store.append_facts([a_fact(1, status=status)], PROVENANCE)
    assert bool(find(store, 1)) is lasts


@pytest.mark.parametrize("changes", [{"content_hash": ""}, {"status": "skipped"}], ids=["no content", "skipped"])
def test_what_is_not_about_content_is_no_fact(store: Store, changes: dict) -> None:
    with pytest.raises(ValueError, match="not a fact about content"):
        store.append_facts([a_fact(1), a_fact(2, **changes)], PROVENANCE)
    assert not store.root.exists()


# --- files ----------------------------------------------------------------------------------------------------------


def test_one_file_per_measure_in_order_of_appearance(store: Store) -> None:
    facts = [a_fact(1, measure_id="b"), a_fact(1, measure_id="a"), a_fact(2, measure_id="b"), a_fact(2, operator="ocr")]
    paths = store.append_facts(facts, PROVENANCE)
    assert [path.parent.relative_to(store.root).as_posix() for path in paths] == [
        f"measures/{OPERATOR}/b",
        f"measures/{OPERATOR}/a",
        f"measures/ocr/{MEASURE}",
    ]
    assert [pq.read_metadata(path).num_rows for path in paths] == [2, 1, 1]
    assert files.read_provenance(paths[0]) == replace(PROVENANCE, code_version="b", rows=2)


def test_every_fact_keeps_the_run_that_measured_it(store: Store) -> None:
    paths = [
        path
        for run in ("run-1", "run-2")
        for path in store.append_facts([a_fact(int(run[-1]))], replace(PROVENANCE, run_id=run))
    ]
    merged = store.compact_facts(OPERATOR, MEASURE, paths)
    rows = pq.ParquetFile(merged).read(["content_hash", "run_id", "versions"]).to_pylist()
    assert {row["content_hash"]: row["run_id"] for row in rows} == {content_hash(1): "run-1", content_hash(2): "run-2"}
    assert {row["versions"] for row in rows} == {"dj-assets 0.1.0"}


def test_no_facts_no_file(store: Store) -> None:
    assert store.append_facts([], PROVENANCE) == []
    assert not store.root.exists()


def append_many(root: Path, start: int, count: int) -> None:
    for number in range(start, start + count):
        Store(root).append_facts([a_fact(number)], PROVENANCE)


def test_processes_append_at_the_same_moment(store: Store) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append_many, args=(store.root, start, 25)) for start in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    wanted = [*range(25), *range(100, 125)]
    assert find(store, *wanted) == {content_hash(number): (a_fact(number),) for number in wanted}


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "not Parquet": lambda content: b"PAR1" + b"x" * 500 + b"PAR1",
    "a broken page": lambda content: content[:4] + b"\xff" * 200 + content[204:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_costs_only_its_own_facts(store: Store, damage, caplog: pytest.LogCaptureFixture) -> None:
    (bad,) = store.append_facts([a_fact(number) for number in range(20)], PROVENANCE)
    store.append_facts([a_fact(100)], PROVENANCE)
    bad.write_bytes(damage(bad.read_bytes()))
    assert find(store, 0, 100) == {content_hash(100): (a_fact(100),)}
    assert str(bad) in caplog.text and "measured again" in caplog.text
    assert len(list(bad.parent.glob("*.damaged"))) == 1  # kept for a look, out of everybody's way
    caplog.clear()
    assert find(store, 0, 100) == {content_hash(100): (a_fact(100),)}
    assert not caplog.text


def test_a_file_without_rights_costs_only_its_own_facts(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (closed,) = store.append_facts([a_fact(1)], PROVENANCE)
    store.append_facts([a_fact(2)], PROVENANCE)
    sound = pq.ParquetFile

    def open_or_refuse(path: Path, **options: object) -> pq.ParquetFile:  # chmod does not stop root
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return sound(path, **options)

    monkeypatch.setattr(pq, "ParquetFile", open_or_refuse)
    assert find(store, 1, 2) == {content_hash(2): (a_fact(2),)}
    assert closed.exists() and "Permission denied" in caplog.text


# --- compaction -----------------------------------------------------------------------------------------------------


def test_compaction_keeps_every_fact(store: Store) -> None:
    paths = [path for number in range(6) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    before = find(store, *range(6))
    merged = store.compact_facts(OPERATOR, MEASURE, paths)
    for path in paths:
        path.unlink()
    assert parquet_files(store) == [merged]
    assert find(store, *range(6)) == before
    assert files.read_provenance(merged).rows == 6


def test_a_compacted_file_tells_any_client_unread_which_hashes_it_does_not_have(store: Store) -> None:
    """The hashes of a million videos are no order to look things up by: `why` took 1.2 s, and a Bloom filter 0.7."""
    paths = [*store.append_facts([a_fact(1)], PROVENANCE), *store.append_facts([a_fact(2)], PROVENANCE)]
    compacted = store.compact_facts(OPERATOR, MEASURE, paths)
    probe = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'content_hash', ?)"
    excluded = [duckdb.execute(probe, [str(compacted), content_hash(number)]).fetchall() for number in (1, 2, 3)]
    assert excluded == [[(False,)], [(False,)], [(True,)]]


def test_compacted_files_stay_for_their_readers_and_then_go(store: Store) -> None:
    """DuckDB lists a folder and opens its files later: removed at once, nearly half of its queries failed."""
    old = [path for number in range(3) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    merged = store.compact_facts(OPERATOR, MEASURE, old)
    assert store.sweep() == []
    assert all(path.exists() for path in old)
    (note,) = merged.parent.glob("*.superseded")
    an_hour_ago = note.stat().st_mtime - 3600
    os.utime(note, (an_hour_ago, an_hour_ago))
    assert sorted(store.sweep()) == sorted(old)
    assert parquet_files(store) == [merged] and not note.exists()
    assert len(find(store, 0, 1, 2)) == 3


def test_the_next_compaction_clears_up_after_the_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_log, "GRACE_SECONDS", 0.0)
    paths = [path for number in range(4) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    first = store.compact_facts(OPERATOR, MEASURE, paths[:2])
    second = store.compact_facts(OPERATOR, MEASURE, paths[2:])
    assert set(parquet_files(store)) == {first, second}


@pytest.mark.parametrize("moment", ["before the new file", "before its note", "between note and file", "after both"])
def test_a_kill_during_compaction_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """The note that gives files up may lie there without the file that took them over, and then means nothing."""
    paths = [path for number in range(3) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    sound, calls = facts_log.write_atomically, []

    def killed(path: Path, write) -> None:
        calls.append(path.suffix)

        def write_and_die(temporary: Path) -> None:
            write(temporary)
            raise KeyboardInterrupt

        if moment == {".parquet": "before the new file", ".superseded": "before its note"}[path.suffix]:
            raise KeyboardInterrupt
        sound(path, write_and_die if path.suffix == ".parquet" and moment == "between note and file" else write)
        if path.suffix == ".parquet":
            raise KeyboardInterrupt

    monkeypatch.setattr(facts_log, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        store.compact_facts(OPERATOR, MEASURE, paths)
    monkeypatch.undo()
    expected = {content_hash(number): (a_fact(number),) for number in range(3)}
    assert find(store, 0, 1, 2) == expected
    for note in paths[0].parent.glob("*.superseded"):
        os.utime(note, (0, 0))
    store.sweep()
    assert find(store, 0, 1, 2) == expected
    assert len(parquet_files(store)) == (1 if moment == "after both" else 3)
    store.compact_facts(OPERATOR, MEASURE, paths)
    assert find(store, 0, 1, 2) == expected


def facts_in(paths: list[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths)


def test_files_are_compacted_once(store: Store) -> None:
    """A run puts its chunks together, and housekeeping beside it as well: no fact is to be there twice for good."""
    paths = [path for number in range(4) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    first = store.compact_facts(OPERATOR, MEASURE, paths[:3])
    assert store.compact_facts(OPERATOR, MEASURE, paths[:3]) == first
    second = store.compact_facts(OPERATOR, MEASURE, [*paths, first])
    assert facts_in([second]) == 4
    assert store.compact_facts(OPERATOR, MEASURE, paths) == first  # where the first three are; anything but an error
    for note in first.parent.glob("*.superseded"):
        os.utime(note, (0, 0))
    store.sweep()
    assert parquet_files(store) == [second]
    assert len(find(store, *range(4))) == 4


def test_videos_measured_together_lie_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard's videos are asked for together again: the rows of one group hold them, not a row here and there."""
    monkeypatch.setattr(facts_log, "GROUP_ROWS", 10)
    paths = [
        path
        for start in (0, 7, 14, 21)
        for path in store.append_facts([a_fact(number) for number in range(start, start + 7)], PROVENANCE)
    ]
    with pq.ParquetFile(store.compact_facts(OPERATOR, MEASURE, paths)) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        hashes = file.read(["content_hash"]).column(0).to_pylist()
    assert sizes == [10, 10, 8]
    assert hashes == [content_hash(number) for number in range(28)]


def test_one_file_is_compact_already(store: Store) -> None:
    paths = store.append_facts([a_fact(1)], PROVENANCE)
    assert store.compact_facts(OPERATOR, MEASURE, paths) == paths[0]
    assert parquet_files(store) == paths


def test_compaction_leaves_out_what_is_gone_or_damaged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    paths = [path for number in range(4) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    paths[0].unlink()
    paths[1].write_bytes(b"")
    store.compact_facts(OPERATOR, MEASURE, paths)
    assert set(find(store, *range(4))) == {content_hash(2), content_hash(3)}
    assert "is damaged" in caplog.text


def test_files_that_are_gone_are_no_fault(store: Store) -> None:
    """A long run's chunks may have been put together by `gc`, and removed, before the run comes to do it itself."""
    assert store.compact_facts(OPERATOR, MEASURE, [store.root / "gone.parquet"]) is None
    (left,) = store.append_facts([a_fact(1)], PROVENANCE)
    assert store.compact_facts(OPERATOR, MEASURE, [left.with_name("gone.parquet")]) is None


def test_files_of_which_none_can_be_read_are_an_error(store: Store) -> None:
    paths = [path for number in range(2) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(StoreError, match="none of 2 files") as caught:
        store.compact_facts(OPERATOR, MEASURE, paths)
    assert caught.value.allowed and caught.value.try_


def test_a_lookup_survives_a_compaction_under_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file goes between the listing and its opening; its facts are in one that came after the listing."""
    monkeypatch.setattr(facts_log, "GRACE_SECONDS", 0.0)
    paths = [path for number in range(3) for path in store.append_facts([a_fact(number)], PROVENANCE)]
    sound = facts_log.open_parquet
    calls = []

    def compact_first(path: Path):
        if not calls:
            calls.append(path)
            store.compact_facts(OPERATOR, MEASURE, paths)
        return sound(path)

    monkeypatch.setattr(facts_log, "open_parquet", compact_first)
    assert set(find(store, 0, 1, 2)) == {content_hash(number) for number in range(3)}


def test_an_answer_that_is_asked_for_again_is_left_out_but_a_number_found_since_is_not(store: Store) -> None:
    answers = {1: "too_short", 2: "unreadable", 3: "ok"}
    for number, status in answers.items():
        value = 1.5 if status == "ok" else None
        store.append_facts([a_fact(number, status=status, value=value)], PROVENANCE)
    hashes = {content_hash(number): number for number in answers}

    def found(*statuses: Status) -> list[int]:
        facts = store.find_facts(OPERATOR, MEASURE, hashes, but_not_statuses=statuses)
        return sorted(hashes[content_hash] for content_hash in facts)

    assert found() == [1, 2, 3]
    assert found("too_short") == [2, 3]
    assert found("ok", "unreadable") == [1]
    store.append_facts([a_fact(1)], PROVENANCE)
    assert found("too_short") == [1, 2, 3]
