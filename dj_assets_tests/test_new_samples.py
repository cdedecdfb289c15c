"""What becomes of a kept sample: ids, records, texts and origins, by the role of the mapper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dj_assets.new_samples import Mapped, captioned, multiplied, new_samples
from dj_assets.plan import MapperStep
from dj_assets.samples import Made, Sample, Video
from dj_assets.store.products import Kept, ProductFile
from dj_assets_tests.mappers import a_mapper, a_mapper_step
from dj_assets_tests.plans import a_plan

RECIPE = a_plan().recipe
TOKEN, END = RECIPE.video_special_token, RECIPE.eoc_special_token


def a_parent(*names: str, text: str | None = f"{TOKEN} a dog", **fields: Any) -> Sample:
    videos = tuple(
        Video("videos", n, f"{name}.mp4", f"/v/{name}.mp4", f"hash-{name}", 9, 9) for n, name in enumerate(names)
    )
    record = {
        "id": 7,
        "videos": [video.given for video in videos],
        **({} if text is None else {"text": text}),
        **fields,
    }
    return Sample("ds.jsonl:3", "ds.jsonl", 3, record, videos)


def clips(name: str, count: int) -> Kept:
    return Kept(
        tuple(ProductFile(f"/p/{name}_{n}.mp4", n, n + 1.0, "", False, f"hash-{name}_{n}", 5, 5) for n in range(count))
    )


def made_of(step: MapperStep, parent: Sample, *kept: Kept | None, stats: Any = None) -> list[Sample]:
    mapped = [Mapped(video, one) for video, one in zip(parent.videos, kept, strict=True)]
    return new_samples(step, RECIPE, parent, mapped, stats or {}, parent_recipe="r__1")


def test_clips_take_the_place_of_their_video() -> None:
    step = a_mapper_step(keeps_original=True)
    original, cut = made_of(step, a_parent("a", "b", text=f"{TOKEN}{TOKEN} two dogs"), clips("a", 2), clips("b", 1))
    assert (original.sample_id, cut.sample_id) == ("ds.jsonl:3#0", "ds.jsonl:3#1")
    assert original.record["videos"] == ["a.mp4", "b.mp4"], "the user's own spelling"
    assert original.record["__dj__source_file__"] == ["/v/a.mp4", "/v/b.mp4"]
    assert cut.record == {
        "id": 7,
        "videos": ["/p/a_0.mp4", "/p/a_1.mp4", "/p/b_0.mp4"],
        "text": f"{TOKEN * 2}{TOKEN} two dogs",
        "__dj__source_file__": ["/v/a.mp4", "/v/a.mp4", "/v/b.mp4"],
    }
    assert [(v.field, v.position, v.path, v.content_hash) for v in cut.videos][2] == (
        "videos",
        2,
        "/p/b_0.mp4",
        "hash-b_0",
    )
    assert cut.made[1] == Made("/p/a_1.mp4", "hash-a_1", "/v/a.mp4", "hash-a", 1.0, 2.0)
    assert (cut.parent_id, cut.parent_recipe, cut.made_by) == ("ds.jsonl:3", "r__1", "scratch_cut_mapper")
    assert (cut.drop, cut.line_number, cut.measure_id) == ("ds.jsonl", 3, step.measure_id)


def test_each_clip_can_be_a_sample_of_its_own() -> None:
    found = made_of(
        a_mapper_step(clip_per_sample=True),
        a_parent("a", "b", text=f"{TOKEN}{TOKEN} dogs"),
        clips("a", 2),
        clips("b", 1),
    )
    assert [one.sample_id for one in found] == ["ds.jsonl:3#1", "ds.jsonl:3#2", "ds.jsonl:3#3"]
    assert [one.record["videos"] for one in found] == [["/p/a_0.mp4"], ["/p/a_1.mp4"], ["/p/b_0.mp4"]]
    assert {one.record["text"] for one in found} == {f"{TOKEN} dogs"}, "one token for the one video"


def test_a_text_without_tokens_loses_no_video() -> None:
    """Upstream goes by the tokens, and takes every video away from a sample whose text has none."""
    [cut] = made_of(a_mapper_step(), a_parent("a", text="no token"), clips("a", 2))
    assert cut.record["videos"] == ["/p/a_0.mp4", "/p/a_1.mp4"]
    assert cut.record["text"] == "no token"
    [cut] = made_of(a_mapper_step(), a_parent("a", text=None), clips("a", 1))
    assert "text" not in cut.record


def test_numbers_stay_with_the_same_video_and_leave_another() -> None:
    """Upstream leaves the parent's numbers with its clips, as lists that match no video any more."""
    parent = a_parent("a", __dj__stats__={"old": [1.0]})
    original, cut = made_of(a_mapper_step(keeps_original=True), parent, clips("a", 2), stats={"video_duration": [9.0]})
    assert original.record["__dj__stats__"] == {"old": [1.0], "video_duration": [9.0]}
    assert "__dj__stats__" not in cut.record
    [framed] = made_of(a_mapper_step("frames"), parent, clips("a", 2), stats={"video_duration": [9.0]})
    assert framed.record["__dj__stats__"] == {"old": [1.0], "video_duration": [9.0]}


def test_pictures_are_listed_by_video_in_their_field() -> None:
    [framed] = made_of(a_mapper_step("frames"), a_parent("a", "b"), clips("a", 2), clips("b", 1))
    assert framed.record["video_frames"] == [["/p/a_0.mp4", "/p/a_1.mp4"], ["/p/b_0.mp4"]]
    assert [video.path for video in framed.videos] == ["/v/a.mp4", "/v/b.mp4"]
    assert framed.made[2].path == "/p/b_0.mp4"


def test_a_video_that_was_left_alone_is_itself() -> None:
    parent = a_parent("a")
    [same] = made_of(a_mapper_step("video"), parent, Kept((ProductFile(end_seconds=4.0, is_parent=True),)))
    assert same.videos == (replace(parent.videos[0], given="/v/a.mp4"),)
    assert same.made[0].path == same.made[0].parent_path == "/v/a.mp4"


def test_a_field_of_one_path_stays_one() -> None:
    parent = a_parent("a")
    parent.record["videos"] = "a.mp4"
    [resized] = made_of(a_mapper_step("video"), parent, clips("a", 1))
    assert resized.record["videos"] == "/p/a_0.mp4"


def test_words_take_the_place_of_the_text_a_sample_for_each_candidate() -> None:
    words = Kept((ProductFile(text="a dog runs"), ProductFile(text="a dog")))
    found = made_of(a_mapper_step("words"), a_parent("a", text=f"{TOKEN} old{END}"), words)
    assert [one.record["text"] for one in found] == [f"{TOKEN} a dog runs {END}", f"{TOKEN} a dog {END}"]
    assert [one.sample_id for one in found] == ["ds.jsonl:3#1", "ds.jsonl:3#2"]


FAILURES: dict[str, tuple[Kept | None, str, str]] = {
    "the mapper failed": (Kept((), "crashed", "signal 9"), "crashed", "signal 9"),
    "the file is not there": (None, "missing", "no such file"),
    "nothing came out": (Kept(()), "too_short", "made nothing"),
}


@pytest.mark.parametrize(("kept", "status", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_video_of_which_nothing_could_be_made_leaves_a_row(kept: Kept | None, status: str, reason: str) -> None:
    parent = a_parent("a", "b")
    parent = replace(
        parent, videos=(parent.videos[0], replace(parent.videos[1], status="missing", reason="no such file"))
    )
    first = Kept(()) if status == "too_short" else clips("a", 1)
    original, lost = made_of(a_mapper_step(keeps_original=True), parent, first, kept)
    assert original.status == "ok"
    assert (lost.sample_id, lost.status) == ("ds.jsonl:3#1", status)
    assert reason in lost.reason
    assert lost.videos == (), "nobody measures what nobody made"
    assert lost.record == parent.record


def test_a_sample_without_videos_goes_on_once() -> None:
    parent = a_parent()
    assert [one.sample_id for one in made_of(a_mapper_step(keeps_original=True), parent)] == ["ds.jsonl:3#0"]
    for step in (a_mapper_step(), a_mapper_step("video"), a_mapper_step("frames"), a_mapper_step("words")):
        [only] = made_of(step, parent)
        assert (only.sample_id, only.status, only.record["id"]) == ("ds.jsonl:3#1", "ok", 7)


def test_videos_of_other_fields_stay() -> None:
    parent = a_parent("a")
    other = Video("previews", 0, "x.mp4", "/v/x.mp4", "hash-x", 1, 1)
    parent = replace(parent, videos=(*parent.videos, other), record={**parent.record, "previews": ["x.mp4"]})
    [cut] = new_samples(
        a_mapper_step(), RECIPE, parent, [Mapped(parent.videos[0], clips("a", 2))], {}, parent_recipe="r__1"
    )
    assert [video.path for video in cut.videos] == ["/p/a_0.mp4", "/p/a_1.mp4", "/v/x.mp4"]


TEXTS = {
    "one video": ("<v> a dog", [3], "<v><v><v> a dog", "<v><v><v> a dog<e>"),
    "two chunks": ("<v> a<e><v> b<e>", [2, 1], "<v><v> a<e><v> b<e>", "<v><v> a<e><v> b<e>"),
    "a blank end": ("<v> a<e> ", [2], "<v><v> a<e> ", "<v><v> a<e>"),
    "no clip": ("<v> a", [0], " a", " a<e>"),
    "fewer videos than tokens": ("<v><v> a", [2], "<v><v><v> a", "<v><v><v> a<e>"),
    "no token": ("a", [2], "a", "a"),
}


@pytest.mark.parametrize(("text", "counts", "plain", "closed"), TEXTS.values(), ids=TEXTS)
def test_tokens_are_multiplied_chunk_by_chunk(text: str, counts: list[int], plain: str, closed: str) -> None:
    assert multiplied(text, counts, token="<v>", chunk_end="<e>", closes_chunks=False) == plain
    assert multiplied(text, counts, token="<v>", chunk_end="<e>", closes_chunks=True) == closed


def test_captions_follow_their_tokens() -> None:
    assert captioned("<v> x<e>y<v><v>", ["a", "b", "c"], token="<v>", chunk_end="<e>") == "<v> a <e><v> b <v> c <e>"
    assert captioned("plain", ["a", "b"], token="<v>", chunk_end="<e>") == "a b"


def test_a_mapper_says_what_its_products_hang_on() -> None:
    with pytest.raises(TypeError, match="frames_option"):
        a_mapper("frames", frames_option="")
    with pytest.raises(TypeError, match="pieces"):
        a_mapper(keeps_original="pieces")
