"""Data drops on their way in: when they are complete, what differs, and that the same look twice runs nothing twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets import landing
from dj_assets.landing import Known, Tick, advance, from_text, look, to_text
from dj_assets.recipe import Landing, Recipe, Settings

NOW_NS = 1_800_000_000 * 10**9


def recipe(folder: Path, *, shard_size: int = 2, **options: object) -> Recipe:
    settings = Settings(shard_size=shard_size, landing=Landing(**{"complete": "renamed", **options}))
    return Recipe("clips", "clips.yaml", "0", folder, folder / "out.jsonl", (), settings)


_times = count(1)


def put(path: Path, *texts: str) -> Path:
    """A manifest of a record per text, with a time of change of its own, as deliveries have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    moment = 10**9 * next(_times)
    os.utime(path, ns=(moment, moment))
    return path


def tick(what: Recipe, known: Mapping[str, Known] | None = None, *, most_shards: int = 100) -> Tick:
    return advance(look(what), known or {}, what, now_ns=NOW_NS, most_shards=most_shards)


def shards(found: Tick) -> list[str]:
    return [run.shard_key for run in found.runs]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    return tmp_path / "landing"


# --- what differs


def test_each_shard_of_a_new_drop_runs_once(folder: Path) -> None:
    put(folder / "a.jsonl", "1", "2", "3")
    first = tick(recipe(folder))
    assert shards(first) == ["a-00000", "a-00001"]
    assert all(run.is_new and run.drop == "a.jsonl" for run in first.runs)
    assert tick(recipe(folder), first.known).runs == ()


def test_delivered_again_as_it_was_nothing_runs(folder: Path) -> None:
    put(folder / "a.jsonl", "1", "2", "3")
    first = tick(recipe(folder))
    put(folder / "a.jsonl", "1", "2", "3")
    again = tick(recipe(folder), first.known)
    assert again.runs == ()
    assert again.known["a.jsonl"].stamp != first.known["a.jsonl"].stamp


def test_one_changed_line_runs_its_shard_alone(folder: Path) -> None:
    put(folder / "a.jsonl", "1", "2", "3", "4", "5")
    first = tick(recipe(folder))
    put(folder / "a.jsonl", "1", "2", "3", "other", "5")
    changed = tick(recipe(folder), first.known)
    assert [(run.shard_key, run.is_new) for run in changed.runs] == [("a-00001", False)]
    assert changed.runs[0].run_key not in {run.run_key for run in first.runs}


def test_a_change_that_is_taken_back_runs_once_more(folder: Path) -> None:
    """Dagster starts nothing for a run key that it has seen: the digest alone would be one that it has."""
    keys = []
    known: Mapping[str, Known] = {}
    for text in ("one", "other", "one", "other"):
        put(folder / "a.jsonl", text)
        found = tick(recipe(folder), known)
        keys += [run.run_key for run in found.runs]
        known = found.known
    assert len(set(keys)) == 4


def test_a_manifest_that_grew_runs_the_shards_that_it_has_more(folder: Path) -> None:
    put(folder / "a.jsonl", "1", "2", "3")
    first = tick(recipe(folder))
    put(folder / "a.jsonl", "1", "2", "3", "4", "5")
    assert shards(tick(recipe(folder), first.known)) == ["a-00001", "a-00002"]


def test_shards_that_a_drop_has_no_more_are_told(folder: Path) -> None:
    put(folder / "a.jsonl", "1", "2", "3", "4", "5")
    put(folder / "a-1.jsonl", "of another drop, whose keys begin alike")
    first = tick(recipe(folder))
    put(folder / "a.jsonl", "1", "2")
    shrunk = tick(recipe(folder), first.known)
    assert (shrunk.runs, shrunk.vanished) == ((), ("a-00001", "a-00002"))
    assert list(shrunk.known["a.jsonl"].shards) == ["a-00000"]


def test_a_withdrawn_drop_is_told_once_and_runs_nothing_when_it_comes_back(folder: Path) -> None:
    path = put(folder / "a.jsonl", "1")
    put(folder / "b.jsonl", "2")
    first = tick(recipe(folder))
    path.rename(folder.parent / "a.jsonl")
    gone = tick(recipe(folder), first.known)
    assert (gone.runs, gone.withdrawn) == ((), ("a.jsonl",))
    assert tick(recipe(folder), gone.known).withdrawn == ()
    (folder.parent / "a.jsonl").rename(path)
    back = tick(recipe(folder), gone.known)
    assert (back.runs, back.withdrawn, back.known["a.jsonl"].is_withdrawn) == ((), (), False)


def test_without_what_was_known_the_run_keys_are_the_same(folder: Path) -> None:
    put(folder / "a.jsonl", "1", "2", "3")
    assert tick(recipe(folder)).runs == tick(recipe(folder)).runs


def test_a_landing_folder_may_be_empty(folder: Path) -> None:
    assert tick(recipe(folder)).known == {}
    assert tick(recipe(folder, drops="folders")).known == {}


def test_videos_without_a_manifest_are_no_drop_of_manifests(folder: Path) -> None:
    """When the only manifest was withdrawn, the videos beside it became a data drop, and ran."""
    (folder / "a.mp4").touch()
    found = tick(recipe(folder))
    assert (found.runs, found.waiting) == (
        (),
        {"landing": "videos without a manifest, which landing.drops: folders would take"},
    )


# --- complete or not


@pytest.mark.parametrize(
    ("seconds_ago", "reason"),
    [(61, ""), (60, ""), (12, "changed 12 s ago, taken after 60 s"), (-5, "changed 5 s from now")],
)
def test_a_quiet_drop_is_complete(folder: Path, seconds_ago: int, reason: str) -> None:
    path = put(folder / "a.jsonl", "1")
    what = recipe(folder, complete="quiet")
    changed_ns = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    found = advance(look(what), {}, what, now_ns=changed_ns + seconds_ago * 10**9, most_shards=9)
    assert found.waiting.get("a.jsonl", "").startswith(reason)
    assert bool(found.runs) == (reason == "")


def test_a_file_moved_in_with_an_old_time_is_new_all_the_same(folder: Path) -> None:
    """`cp -p` and `rsync -t` set the time of change back while they still write."""
    put(folder / "a.jsonl", "1")
    what = recipe(folder, complete="quiet")
    [arrival] = look(what)
    assert arrival.changed_ns > 1_700_000_000 * 10**9


def test_a_marker_says_that_a_manifest_is_complete(folder: Path) -> None:
    put(folder / "a.jsonl", "1")
    what = recipe(folder, complete="marker")
    assert tick(what).waiting == {"a.jsonl": "a.jsonl.DONE is not there yet"}
    (folder / "a.jsonl.DONE").touch()
    assert shards(tick(what)) == ["a-00000"]


def test_a_drop_that_changes_again_waits_again_and_keeps_what_was_known(folder: Path) -> None:
    put(folder / "a.jsonl", "1")
    first = tick(recipe(folder))
    put(folder / "a.jsonl", "2")
    waiting = tick(recipe(folder, complete="marker"), first.known)
    assert (waiting.runs, list(waiting.waiting), waiting.known) == ((), ["a.jsonl"], first.known)


# --- folders


def test_folders_are_drops_of_manifests_or_of_videos(folder: Path) -> None:
    put(folder / "monday" / "part-1.jsonl", "1")
    put(folder / "monday" / "more" / "part-2.jsonl", "2")
    (folder / "tuesday").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4", "notes.txt"):
        (folder / "tuesday" / name).write_bytes(name.encode())
    (folder / "wednesday").mkdir()
    (folder / ".hidden").mkdir()
    what = recipe(folder, drops="folders", complete="marker", marker="_SUCCESS")
    assert tick(what).waiting == {
        "monday": "monday/_SUCCESS is not there yet",
        "tuesday": "tuesday/_SUCCESS is not there yet",
        "wednesday": "empty",
    }
    for name in ("monday", "tuesday"):
        (folder / name / "_SUCCESS").touch()
    found = tick(what)
    keys = shards(found)
    assert [key.rpartition("-")[0].split("-")[0] for key in keys] == ["monday", "monday", "tuesday", "tuesday"]
    assert len(set(keys)) == 4
    (folder / "tuesday" / "_SUCCESS").touch()
    assert tick(what, found.known).runs == ()
    (folder / "tuesday" / "c.mp4").write_bytes(b"another film")
    assert shards(tick(what, found.known)) == [keys[3]]


def test_a_drop_folder_without_anything_to_read_says_so(folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "readme.txt").touch()
    assert tick(recipe(folder, drops="folders")).waiting == {"docs": "no manifest and no videos among 1 files"}


# --- slices


def test_many_shards_are_taken_in_slices_and_each_once(folder: Path) -> None:
    put(folder / "a.jsonl", *"12345")
    put(folder / "b.jsonl", *"123")
    every = shards(tick(recipe(folder)))
    seen: list[str] = []
    known: Mapping[str, Known] = {}
    postponed = []
    for _ in range(5):
        part = tick(recipe(folder), known, most_shards=2)
        seen += shards(part)
        postponed.append(part.postponed)
        known = part.known
    assert seen == every
    assert postponed == [2, 1, 0, 0, 0]


def test_when_time_is_over_it_goes_on_where_it_stopped(folder: Path) -> None:
    put(folder / "a.jsonl", *"12345")
    what = recipe(folder)
    known: Mapping[str, Known] = {}
    seen = []
    for _ in range(4):
        asked = iter([False, True, True])
        part = advance(look(what), known, what, now_ns=NOW_NS, most_shards=9, is_over=lambda: next(asked))  # noqa: B023 - used up before the next round
        seen += shards(part)
        known = part.known
    assert seen == ["a-00000", "a-00001", "a-00002"]


def test_a_drop_that_changes_between_two_slices_is_begun_anew(folder: Path) -> None:
    put(folder / "a.jsonl", *"12345")
    part = tick(recipe(folder), most_shards=1)
    put(folder / "a.jsonl", *"x2345")
    rest = tick(recipe(folder), part.known)
    assert shards(rest) == ["a-00000", "a-00001", "a-00002"]


# --- keeping it


def test_what_is_known_survives_as_text(folder: Path) -> None:
    put(folder / "a, b…ю.jsonl", *"12345")
    known = tick(recipe(folder), most_shards=1).known
    assert from_text(to_text(known)) == known


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "drops": {}}', '{"format": 1, "drops": {"a": {}}}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(1, 3))
def test_whatever_is_delivered_the_runs_are_the_shards_that_differ(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[list[str]], most_shards: int
) -> None:
    folder = tmp_path_factory.mktemp("landing")
    known: Mapping[str, Known] = {}
    before: list[list[str]] = []
    run_keys: set[str] = set()
    for delivery in deliveries:
        put(folder / "a.jsonl", *delivery)
        seen = []
        while part := tick(recipe(folder), known, most_shards=most_shards):
            seen += shards(part)
            known = part.known
            assert run_keys.isdisjoint(run.run_key for run in part.runs)
            run_keys |= {run.run_key for run in part.runs}
            if not part.postponed:
                break
        after = [delivery[at : at + 2] for at in range(0, len(delivery), 2)]
        differing = [n for n, shard in enumerate(after) if n >= len(before) or before[n] != shard]
        assert seen == [f"a-{n:05d}" for n in differing]
        before = after


def test_nothing_is_opened_of_what_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        put(folder / f"{number}.jsonl", "1")
    first = tick(recipe(folder))
    monkeypatch.setattr(landing, "shard_digests", lambda *_, **__: pytest.fail("opened"))
    assert tick(recipe(folder), first.known).runs == ()


def test_what_a_mapper_writes_beside_the_videos_of_a_drop_is_no_news(folder: Path) -> None:
    """Else each run would make its drop a new one, and the sensor would run it for ever."""
    for path in ("monday/a.mp4", "monday/nested/b.mp4"):
        put(folder / path, "video")
    first = tick(recipe(folder, drops="folders"))
    assert len(first.runs) == 1
    put(folder / "monday" / "__dj__produced_data__" / "cut" / "a_1.mp4", "clip")
    put(folder / "monday" / "nested" / "__dj__produced_data__" / "cut" / "b_1.mp4", "clip")
    put(folder / "__dj__produced_data__" / "cut" / "x.mp4", "clip")
    again = tick(recipe(folder, drops="folders"), first.known)
    assert (again.runs, list(again.known)) == ((), ["monday"])
