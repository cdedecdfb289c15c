"""What a mapper makes is found again, made again where a file is not what it was, and one bad video is one row."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dj_assets.errors import StoreError
from dj_assets.plan import MapperStep
from dj_assets.produce import ProduceResult, produce
from dj_assets.recipe import Limits
from dj_assets.samples import Sample, Video
from dj_assets.store.files import temporary_beside
from dj_assets.store.store import Store
from dj_assets_tests.mappers import Cutter, Unlucky, a_mapper, a_mapper_step
from dj_assets_tests.plans import a_plan
from dj_assets_tests.store.nouns import PROVENANCE


@pytest.fixture
def cutter(monkeypatch: pytest.MonkeyPatch) -> Cutter:
    return Cutter(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def a_kept(folder: Path, number: int, *names: str, text: str = "a dog") -> Sample:
    """A sample of files that are there, each with content of its own."""
    videos = []
    for place, name in enumerate(names):
        path = folder / f"{name}.mp4"
        path.write_text(name)
        videos.append(Video("videos", place, path.name, str(path), f"hash-{name}", 1, path.stat().st_mtime_ns))
    return Sample(f"ds.jsonl:{number}", "ds.jsonl", number, {"text": text, "videos": list(names)}, tuple(videos))


def made(step: MapperStep, kept: Sequence[Sample], store: Store, root: Path, **options: Any) -> ProduceResult:
    recipe = a_plan(**{name: options.pop(name) for name in ("trust_mtime",) if name in options}).recipe
    return produce(
        step,
        recipe,
        kept,
        parent_recipe="r__1",
        stats={},
        store=store,
        limits=Limits(),
        roots=options.pop("roots", [root]),
        workers=1,
        provenance=PROVENANCE,
        **options,
    )


def files_of(result: ProduceResult) -> list[Path]:
    return [Path(video.path) for sample in result.samples for video in sample.videos]


def test_nothing_is_made_twice(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a"), a_kept(tmp_path, 2, "b", "a")]
    first = made(a_mapper_step(), kept, store, tmp_path)
    assert sorted(cutter.calls) == ["a", "b"], "once for each content"
    assert (first.made, first.reused, first.failed) == (2, 0, 0)
    assert [len(sample.videos) for sample in first.samples] == [2, 4]
    assert {path.parent for path in files_of(first)} == {tmp_path / "__dj__produced_data__" / "scratch_cut_mapper"}

    again = made(a_mapper_step(), kept, store, tmp_path)
    assert again.samples == first.samples
    assert (again.made, again.reused) == (0, 2)
    other = made(a_mapper_step(pieces=3), kept, store, tmp_path)
    assert (other.made, other.reused) == (2, 0), "another param is another measure"
    assert len(cutter.calls) == 4


def test_a_file_that_is_gone_or_changed_is_made_again(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a"), a_kept(tmp_path, 2, "b")]
    first = made(a_mapper_step(), kept, store, tmp_path)
    gone, changed = files_of(first)[0], files_of(first)[2]
    gone.unlink()
    changed.write_text("somebody else's")
    second = made(a_mapper_step(), kept, store, tmp_path)
    assert sorted(cutter.calls) == ["a", "a", "b", "b"]
    assert second.changed == (str(changed),)
    assert changed.read_text() != "somebody else's"
    assert [s.made for s in second.samples] == [s.made for s in first.samples]
    third = made(a_mapper_step(), kept, store, tmp_path)
    assert (third.made, third.changed) == (0, ())


def test_a_touched_file_is_the_same_file(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    first = made(a_mapper_step(), kept, store, tmp_path)
    os.utime(files_of(first)[0], ns=(1, 1))
    second = made(a_mapper_step(), kept, store, tmp_path)
    assert (second.made, second.reused) == (0, 1)
    assert second.samples[0].videos[0].modified_ns == 1, "or a worker would take it for a file that is being written"


def test_a_change_that_keeps_size_and_time_is_seen_where_times_are_not_trusted(
    tmp_path: Path, store: Store, cutter: Cutter
) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    path = files_of(made(a_mapper_step(), kept, store, tmp_path))[0]
    facts = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
    assert made(a_mapper_step(), kept, store, tmp_path).made == 0
    assert made(a_mapper_step(), kept, store, tmp_path, trust_mtime=False).changed == (str(path),)


def test_another_folder_gets_products_of_its_own(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    made(a_mapper_step(), kept, store, tmp_path)
    there = made(a_mapper_step(folder=tmp_path / "clips"), kept, store, tmp_path)
    assert {path.parent for path in files_of(there)} == {tmp_path / "clips"}
    outside = made(a_mapper_step(), kept, store, tmp_path, roots=[tmp_path / "elsewhere"])
    assert outside.reused == 0, "what no later stage may open is of no use"


def test_recipes_that_share_a_measure_and_no_folder_leave_each_other_alone(
    tmp_path: Path, store: Store, cutter: Cutter
) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    steps = [a_mapper_step(folder=tmp_path / name) for name in ("one", "two")]
    first = [made(step, kept, store, tmp_path) for step in steps]
    assert [result.made for result in first] == [1, 1]
    again = [made(step, kept, store, tmp_path) for step in steps]
    assert [(result.made, result.samples) for result in again] == [(0, result.samples) for result in first]
    beside = made(a_mapper_step(), kept, store, tmp_path)
    assert (beside.made, beside.samples in [result.samples for result in first]) == (0, True), "no third copy"


def test_what_a_killed_writer_left_beside_products_goes_after_a_day(
    tmp_path: Path, store: Store, cutter: Cutter
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    names = [temporary_beside(folder / name).name for name in ("a__dj_0123456789abcdef_0-24.mp4",) * 2]
    others = [temporary_beside(folder / "theirs.mp4").name, "a__dj_0123456789abcdef_0-24.mp4"]
    for name in (*names, *others):
        (folder / name).write_text("half")
    day_ago = time.time() - 25 * 3600
    for name in (names[0], *others):
        os.utime(folder / name, (day_ago, day_ago))
    made(a_mapper_step(folder=folder), [a_kept(tmp_path, 1, "a")], store, tmp_path)
    assert {path.name for path in folder.iterdir()} >= {names[1], *others}
    assert not (folder / names[0]).exists()


def test_products_of_a_product_lie_beside_it(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    first = made(a_mapper_step(), [a_kept(tmp_path, 1, "a")], store, tmp_path)
    step = a_mapper_step(mapper=a_mapper(name="other_cut_mapper"))
    second = made(step, first.samples, store, tmp_path)
    assert {path.parent for path in files_of(second)} == {tmp_path / "__dj__produced_data__" / "other_cut_mapper"}
    assert second.samples[0].sample_id == "ds.jsonl:1#1#1"


def test_one_bad_video_is_one_row(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    cutter.fails["b"] = Unlucky("b.mp4 is broken", try_="fetch it again")
    cutter.dies.add("c")
    kept = [a_kept(tmp_path, number, name) for number, name in enumerate("abcd", start=1)]
    result = made(a_mapper_step(), kept, store, tmp_path)
    assert [sample.status for sample in result.samples] == ["ok", "unreadable", "timed_out", "ok"]
    assert (result.made, result.failed) == (2, 2)
    cutter.dies.clear()
    again = made(a_mapper_step(), kept, store, tmp_path)
    assert [sample.status for sample in again.samples] == ["ok", "unreadable", "ok", "ok"]
    assert cutter.calls == ["a", "b", "d", "c"], "what follows from the bytes is known; a timeout is tried again"
    cutter.fails.clear()
    mended = made(a_mapper_step(), kept, store, tmp_path, but_not_statuses={"unreadable"})
    assert [sample.status for sample in mended.samples] == ["ok"] * 4


def test_a_fault_of_the_mapper_keeps_what_the_others_made(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    cutter.fails["b"] = ZeroDivisionError("oops")
    kept = [a_kept(tmp_path, 1, "a"), a_kept(tmp_path, 2, "b")]
    result = made(a_mapper_step(), kept, store, tmp_path)
    assert result.samples == []
    assert "ZeroDivisionError" in str(result.error)
    cutter.fails.clear()
    assert made(a_mapper_step(), kept, store, tmp_path).reused == 1


def test_a_mapper_that_reads_texts_works_once_for_each(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    step = a_mapper_step(pieces=1, mapper=a_mapper("words", reads_text=True))
    kept = [
        a_kept(tmp_path, 1, "a", text="one"),
        a_kept(tmp_path, 2, "a", text="two"),
        a_kept(tmp_path, 3, "a", text="one"),
    ]
    result = made(step, kept, store, tmp_path)
    assert cutter.calls == ["a", "a"]
    assert [sample.record["text"] for sample in result.samples] == ["one piece 0", "two piece 0", "one piece 0"]
    assert made(step, kept, store, tmp_path).samples == result.samples


def test_a_mapper_that_reads_a_field_works_once_for_each_value(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    step = a_mapper_step("video", pieces=1, text_field="boxes")
    kept = [a_kept(tmp_path, number, "a") for number in (1, 2, 3)]
    for sample, boxes in zip(kept, ([1, 2], None, [1, 2]), strict=True):
        sample.record["boxes"] = boxes
    made(step, kept, store, tmp_path)
    assert cutter.texts == ["[1, 2]", "null"]


def test_a_distrusted_mapper_makes_everything_again(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    first = made(a_mapper_step(), kept, store, tmp_path)
    files_of(first)[0].write_text("wrong")
    again = made(a_mapper_step(), kept, store, tmp_path, is_distrusted=True)
    assert (again.made, len(again.changed)) == (1, 2)
    assert again.samples == [replace(again.samples[0])]
    assert [one.content_hash for one in again.samples[0].made] == [one.content_hash for one in first.samples[0].made]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_told_before_anything_is_made(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="save_dir"):
        made(a_mapper_step(folder=tmp_path / "locked"), kept, store, tmp_path)
    assert cutter.calls == []


def test_a_folder_that_cannot_be_is_told_with_its_step(tmp_path: Path, store: Store, cutter: Cutter) -> None:
    kept = [a_kept(tmp_path, 1, "a")]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="step 1 scratch_cut_mapper cannot write its products"):
        made(a_mapper_step(folder=tmp_path / "file" / "clips"), kept, store, tmp_path)
    assert cutter.calls == []
