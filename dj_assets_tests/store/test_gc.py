"""Housekeeping: it tells before it does, and what it does costs nobody a fact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dj_assets.errors import StoreError
from dj_assets.store import facts as facts_log
from dj_assets.store import gc
from dj_assets.store.gc import InUse
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, a_row, a_sample, a_verdict, content_hash

OPERATOR = "video_motion_score_filter"
MEASURE = "0123456789abcdef"
DAY = 24 * 3600.0


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def append(store: Store, *numbers: int, **changes: object) -> list[Path]:
    return [path for number in numbers for path in store.append_facts([a_fact(number, **changes)], PROVENANCE)]


def found(store: Store, count: int) -> int:
    return len(store.find_facts(OPERATOR, MEASURE, [content_hash(number) for number in range(count)]))


def removed_names(store: Store, **options: object) -> list[str]:
    """What a store with these options would be rid of, relative to it."""
    chores = gc.find_chores(store.root, **options)  # type: ignore[arg-type]  # the options of find_chores
    return sorted(removal.path.relative_to(store.root).as_posix() for removal in chores.removals)


def write_tables(store: Store, recipe: str, *shards: str) -> None:
    """Samples, stats of step `motion` and verdicts, two days old."""
    for shard in shards:
        origin = replace(PROVENANCE, recipe=recipe, shard=shard)
        store.write_samples(recipe, shard, [a_sample(1)], origin)
        store.write_stats(recipe, "motion", shard, [a_row(1)], origin)
        store.write_verdicts(recipe, shard, [a_verdict(1)], origin)
        (store.export_parts(recipe) / f"{shard}.part").write_text("", encoding="utf-8")
    for path in [*store.root.rglob("tables/**/*.parquet"), *store.root.rglob("*.part")]:
        age(path, 2 * DAY)


def test_an_empty_store_has_no_chores(store: Store) -> None:
    chores = gc.find_chores(store.root, keep_days=0, in_use={}, facts_of=[])
    assert chores == gc.Chores()
    assert gc.do(store.root, chores) == gc.Done(0, 0, 0)
    assert not store.root.exists()


def test_looking_changes_nothing(store: Store) -> None:
    append(store, 1, 2, 3)
    write_tables(store, "space", "ds-00000")
    before = contents(store.root)
    chores = gc.find_chores(store.root, keep_days=0, in_use={}, facts_of=[MEASURE])
    assert len(chores.removals) == 7  # 3 facts files, 3 tables, an export part; the ledger tells of tables still there
    assert contents(store.root) == before


def test_small_facts_files_of_a_measure_become_one(store: Store) -> None:
    append(store, *range(6))
    append(store, 1, measure_id="other")
    (merge,) = gc.find_chores(store.root).merges
    assert (merge.operator, merge.measure_id, len(merge.paths)) == (OPERATOR, MEASURE, 6)
    assert gc.do(store.root, gc.find_chores(store.root)).merged == 6
    assert found(store, 6) == 6
    assert gc.find_chores(store.root) == gc.Chores()  # the old ones stay for their readers
    for note in store.root.rglob("*.superseded"):
        age(note, 2 * facts_log.GRACE_SECONDS)
    assert gc.do(store.root, gc.find_chores(store.root)).removed == 6
    assert len(list(store.root.rglob(f"{MEASURE}/*.parquet"))) == 1
    assert found(store, 6) == 6


def test_files_become_no_larger_than_they_should(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = append(store, *range(7))
    size = paths[0].stat().st_size
    monkeypatch.setattr(gc, "TARGET_BYTES", 3 * size - 100)
    merges = gc.find_chores(store.root).merges
    assert [len(merge.paths) for merge in merges] == [3, 3]  # and one is left for the next time
    assert merges[0].paths + merges[1].paths == tuple(paths[:6])
    monkeypatch.setattr(gc, "TARGET_BYTES", size)
    assert gc.find_chores(store.root).merges == ()


def test_what_killed_writers_left_goes_when_it_is_old(store: Store) -> None:
    (facts,) = append(store, 1)
    names = {}
    for days in (0.5, 2):
        names[days] = facts.with_name(f".{facts.name}.{int(days * 10):032x}.tmp")
        names[days].write_bytes(b"half")
        age(names[days], days * DAY)
    void = facts.with_name("ff.superseded")
    void.write_text(f"{facts.name}\n", encoding="utf-8")
    age(void, 2 * DAY)
    assert gc.do(store.root, gc.find_chores(store.root)).removed == 2
    assert sorted(path.name for path in facts.parent.iterdir()) == sorted([facts.name, names[0.5].name])


USED = {"space": InUse(frozenset({"motion"}), frozenset({"ds-00000"}))}


@pytest.mark.parametrize(
    ("in_use", "gone"),
    [
        pytest.param(USED, 4, id="a shard that the dataset no longer has"),
        pytest.param({"space": InUse(frozenset({"motion"}), None)}, 0, id="a dataset that cannot be seen"),
        pytest.param({"space": InUse(frozenset({"ocr"}), None)}, 2, id="a step that the recipe no longer has"),
        pytest.param({"time": USED["space"]}, 8, id="a recipe that is no more"),
        pytest.param(None, 0, id="nobody asked"),
    ],
)
def test_unused_tables(store: Store, in_use: dict[str, InUse] | None, gone: int) -> None:
    append(store, 1)
    write_tables(store, "space", "ds-00000", "ds-00001")
    assert gc.do(store.root, gc.find_chores(store.root, in_use=in_use)).removed == gone
    assert len([*store.root.rglob("tables/**/*.parquet"), *store.root.rglob("*.part")]) == 8 - gone
    assert found(store, 2) == 1
    assert len(list(store.root.rglob("ledger/*/*.json"))) == 6


def test_a_table_of_today_stays_even_without_a_recipe(store: Store) -> None:
    write_tables(store, "space", "ds-00000")
    store.write_verdicts("space", "ds-00000", [a_verdict(1)], replace(PROVENANCE, recipe="space"))
    assert "tables/space/verdicts/ds-00000.parquet" not in removed_names(store, in_use={})


def test_a_table_written_after_the_look_stays(store: Store) -> None:
    write_tables(store, "space", "ds-00000")
    chores = gc.find_chores(store.root, in_use={})
    store.write_verdicts("space", "ds-00000", [a_verdict(2)], replace(PROVENANCE, recipe="space"))
    assert gc.do(store.root, chores).removed == 3
    assert store.read_verdicts("space", "ds-00000") == [a_verdict(2)]


def test_old_ledger_records_go_but_for_the_newest_of_a_table_that_is_there(store: Store) -> None:
    def write(shard: str, created_at: str) -> None:
        store.write_verdicts("space", shard, [a_verdict(1)], replace(PROVENANCE, shard=shard, created_at=created_at))

    for created_at in ("2020-01-01T00:00:00+00:00", "2020-01-02T00:00:00+00:00"):
        write("ds-00000", created_at)
    write("ds-00001", "2020-01-03T00:00:00+00:00")
    store.verdicts_path("space", "ds-00001").unlink()
    write("ds-00002", "2999-01-01T00:00:00+00:00")
    store.verdicts_path("space", "ds-00002").unlink()
    assert removed_names(store) == []
    gone = removed_names(store, keep_days=30)
    assert [name.split("/")[1] for name in gone] == ["2020-01-01", "2020-01-03"]
    gc.do(store.root, gc.find_chores(store.root, keep_days=30))
    assert sorted(path.name for path in (store.root / "ledger").iterdir()) == ["2020-01-02", "2999-01-01"]


@pytest.mark.parametrize("name", [MEASURE, f"{OPERATOR}/{MEASURE}"])
def test_facts_go_only_by_name(store: Store, name: str) -> None:
    append(store, 1, 2)
    append(store, 1, measure_id="other")
    chores = gc.find_chores(store.root, facts_of=[name])
    assert chores.merges == ()
    assert gc.do(store.root, chores).removed == 2
    assert found(store, 3) == 0
    assert len(store.find_facts(OPERATOR, "other", [content_hash(1)])) == 1


def test_a_measure_that_nobody_took_cannot_be_named(store: Store) -> None:
    append(store, 1)
    append(store, 1, operator="ocr")
    for name in ("nothing", MEASURE):  # two operators have it
        with pytest.raises(StoreError, match="measures of the store") as caught:
            gc.find_chores(store.root, facts_of=[name])
        assert f"ocr/{MEASURE}" in caught.value.allowed and caught.value.try_


KEEPS_HOUSE = """
import sys
from pathlib import Path
from dj_assets.store import facts, gc
facts.GRACE_SECONDS = 0.0
root = Path(sys.argv[1])
print("ready", flush=True)
while True:
    gc.do(root, gc.find_chores(root))
"""


def test_killed_at_any_moment_beside_writers_and_readers(store: Store) -> None:
    """Facts are added and looked up while housekeeping is killed again and again; each is found, always."""
    number = 0
    for milliseconds in range(0, 100, 20):
        keeper = subprocess.Popen([sys.executable, "-c", KEEPS_HOUSE, str(store.root)], stdout=subprocess.PIPE)
        try:
            assert keeper.stdout is not None and keeper.stdout.readline()
            until = time.monotonic() + 0.1 + milliseconds / 1000
            while time.monotonic() < until:
                append(store, number)
                number += 1
                assert found(store, number) == number
        finally:
            keeper.send_signal(signal.SIGKILL)
            keeper.wait()
            assert keeper.stdout is not None
            keeper.stdout.close()
        assert found(store, number) == number
    gc.do(store.root, gc.find_chores(store.root))
    assert found(store, number) == number


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one recipe over one shard, which is all that its store's recipe `space` uses."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "ds.jsonl").write_text('{"text": "", "videos": ["v.mp4"]}\n', encoding="utf-8")
    (tmp_path / "recipes" / "space.yaml").write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - video_duration_filter: {min_duration: 1}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJ_ASSETS_ROOT", raising=False)
    monkeypatch.setenv("DJ_ASSETS_STORE", str(store.root))
    return tmp_path


def run_gc(*arguments: str) -> tuple[int, str]:
    from click.testing import CliRunner

    from dj_assets.cli import command_line

    result = CliRunner().invoke(command_line, ["gc", *arguments], prog_name="dj-assets")
    return result.exit_code, result.output


def test_the_command_tells_and_then_does(project: Path, store: Store) -> None:
    append(store, 1, 2, 3)
    code, text = run_gc()
    assert code == 0 and "Nothing was changed" in text and MEASURE in text
    assert len(list(store.root.rglob("*.parquet"))) == 3
    code, text = run_gc("--apply")
    assert code == 0 and "3 files merged" in text
    assert len(list(store.root.rglob("*.parquet"))) == 4
    assert run_gc() == (0, "Nothing to remove, nothing to merge.\n")


def test_the_command_in_json(project: Path, store: Store) -> None:
    write_tables(store, "space", "other-00000")
    code, text = run_gc("--unused", "--json")
    said = json.loads(text)
    assert (code, said["applied"], len(said["removals"])) == (0, False, 4)
    assert {removal["kind"] for removal in said["removals"]} == {"table"}
    said = json.loads(run_gc("--unused", "--json", "--apply")[1])
    assert (said["applied"], said["removed"]) == (True, 4)
    assert not (store.root / "tables").exists() or not list((store.root / "tables").rglob("*.parquet"))


def test_a_recipe_that_cannot_be_read_keeps_every_table(project: Path, store: Store) -> None:
    write_tables(store, "space", "other-00000")
    (project / "recipes" / "broken.yaml").write_text("process: [no_such_filter]\n", encoding="utf-8")
    code, text = run_gc("--unused", "--apply")
    assert code == 2 and "broken.yaml" in text
    assert len(list(store.root.rglob("tables/**/*.parquet"))) == 3
