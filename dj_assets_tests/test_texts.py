"""A measure of a video and a text: which text is about which video, and what is measured anew when one changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets.analysis import analyse
from dj_assets.cli.forecast import Forecaster
from dj_assets.columns import stored_columns
from dj_assets.decide import decide
from dj_assets.defs.checks import measured_other_videos
from dj_assets.defs.jobs import RunReport, run_recipe
from dj_assets.measure import identify
from dj_assets.plan import Plan, make_plan
from dj_assets.rebuild import rebuild
from dj_assets.recipe import load_recipe
from dj_assets.samples import CHUNK_END, VIDEO_TOKEN, Texts, Video, content_key, cut_shards, find_drops, read_shard
from dj_assets.store.rows import Row
from dj_assets.store.store import Store
from dj_assets_tests.operators import tiny_models
from dj_assets_tests.operators.frames_by_hand import clip

NAME = "video_frames_text_similarity_filter"
SHARD = "ds-00000"


def given_to(text: Any, count: int = 2, **options: str) -> list[str]:
    """The text of each of `count` videos, or its status where it has none."""
    videos = [Video("videos", n, f"{n}.mp4", f"/d/{n}.mp4", content_hash=f"{n}" * 32) for n in range(count)]
    found = Texts(**options).give_to(videos, {} if text is None else {"text": text})
    return [video.text if video.status == "ok" else video.status for video in found]


@pytest.mark.parametrize(
    ("what", "text", "expected"),
    [
        ("one token, one video", f"{VIDEO_TOKEN} a dog", ["a dog", "no_value"]),
        ("a chunk each", f"{VIDEO_TOKEN} a dog{CHUNK_END}{VIDEO_TOKEN} a cat{CHUNK_END}", ["a dog", "a cat"]),
        ("one chunk about both", f"{VIDEO_TOKEN}{VIDEO_TOKEN} pets", ["pets", "pets"]),
        ("a chunk without a token", f"hello{CHUNK_END}{VIDEO_TOKEN} a dog", ["a dog", "no_value"]),
        ("no token at all", "a dog", ["a dog", "a dog"]),
        ("no token, two chunks", f"a dog{CHUNK_END}a cat", ["a dog a cat", "a dog a cat"]),
        ("other special tokens", f"<__dj__image>{VIDEO_TOKEN}<__dj__audio> a dog", ["a dog", "no_value"]),
        ("more tokens than videos", f"{VIDEO_TOKEN}{VIDEO_TOKEN}{VIDEO_TOKEN} pets", ["pets", "pets"]),
        ("a bare video", VIDEO_TOKEN, ["no_value", "no_value"]),
        ("no text", None, ["no_value", "no_value"]),
        ("no text field of that type", ["a dog"], ["no_value", "no_value"]),
        ("half a surrogate pair", "a \ud800 dog", ["a ? dog", "a ? dog"]),
    ],
)
def test_which_text_is_about_which_video(what: str, text: Any, expected: list[str]) -> None:
    assert given_to(text) == expected


def test_tokens_are_those_of_the_recipe() -> None:
    assert given_to("[v] a dog|[v] a cat|", video_token="[v]", chunk_end="|") == ["a dog", "a cat"]


def test_what_is_wrong_with_the_file_comes_first() -> None:
    gone = Video("videos", 0, "a.mp4", "/a.mp4", status="missing", reason="no file")
    assert Texts().give_to([gone], {"text": ""}) == (gone,)
    assert Texts().give_to([gone], {"text": "a dog"}) == (gone,)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two videos, one of them with two captions, and a CLIP; processed once."""
    folder = tmp_path_factory.mktemp("project")
    tiny_models.clip(folder / "clip")
    clip(folder / "a.mp4")
    clip(folder / "b.mp4", seed=1)
    (folder / "r.yaml").write_text(
        f"dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n  - {NAME}:\n"
        "      hf_clip: ./clip\n      min_score: -1\n"
    )
    write_samples(folder, ("a.mp4", "a dog"), ("a.mp4", "a cat"), ("b.mp4", "a dog"), ("b.mp4", ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


def write_samples(folder: Path, *pairs: tuple[str, str]) -> None:
    lines = [json.dumps({"text": f"{VIDEO_TOKEN} {text}", "videos": [video]}) + "\n" for video, text in pairs]
    (folder / "ds.jsonl").write_text("".join(lines))


def plan() -> Plan:
    return make_plan(load_recipe("r.yaml"))


def run(folder: Path) -> tuple[RunReport, list[Row]]:
    with dg.DagsterInstance.ephemeral() as instance:
        report = run_recipe(plan(), instance=instance, store_root=folder / "store")
    assert report.success
    return report, Store(folder / "store").read_stats("r", NAME, SHARD)


def test_a_number_is_of_a_video_and_a_text_for_everyone_who_looks(project: Path) -> None:
    report, rows = run(project)
    made, store = plan(), Store(project / "store")
    assert [row.fact.status for row in rows] == ["ok", "ok", "ok", "no_value"]
    assert len({row.fact.value for row in rows[:3]}) == 3
    texts = ["a dog", "a cat", "a dog"]
    keys = [content_key(row.fact.content_hash[:32], text) for row, text in zip(rows, texts, strict=False)]
    assert [row.fact.content_hash for row in rows[:3]] == keys
    assert "is empty" in rows[3].fact.reason

    # The whole store as arrays, and sample by sample.
    columns = stored_columns(made, store)
    assert columns.steps[NAME].values[0].tolist()[:3] == [row.fact.value for row in rows[:3]]
    assert columns.steps[NAME].undecided_by_status() == {"no_value": 1}
    verdicts = decide(made, store.read_samples("r", SHARD), {NAME: rows})
    assert [verdict.outcome for verdict in verdicts] == ["kept", "kept", "kept", "undecided"]
    assert columns.outcomes().kept.tolist() == [True, True, True, False]

    # What it cost is told of the file, whatever texts there were.
    [cost] = analyse(columns, store).costs
    assert (cost.contents, cost.measured, cost.failed) == (2, 2, 0)
    assert cost.seconds == pytest.approx(sum(row.fact.cost_seconds for row in rows))

    # A table that was made of other texts is not taken for this one.
    [step] = made.steps
    samples = store.read_samples("r", SHARD)
    assert not measured_other_videos(step, samples, rows)
    other = replace(samples[0], record={**samples[0].record, "text": f"{VIDEO_TOKEN} a bird"})
    assert measured_other_videos(step, [other, *samples[1:]], rows)

    # The export is made again from the store alone.
    again = rebuild(report.paths["manifest"], store=store, folder=project / "again")
    assert again.files and all(file.is_same for file in again.files)


def test_another_text_is_another_number_and_the_rest_is_reused(project: Path) -> None:
    _, before = run(project)
    write_samples(project, ("a.mp4", "a cat"), ("a.mp4", "a bird"), ("b.mp4", "a dog"), ("b.mp4", "a dog"))
    made, store = plan(), Store(project / "store")
    forecaster = Forecaster(made, store.find_facts)
    [shard] = cut_shards(find_drops(made.recipe.dataset_path), 1000)
    read = read_shard(shard, video_keys=made.video_keys)
    forecaster.add(identify(read, roots=made.roots, limits=made.recipe.settings.limits))
    [foreseen] = forecaster.forecast.passes
    assert (len(foreseen.steps[0].reuse), len(foreseen.steps[0].measure)) == (2, 1)

    _, after = run(project)
    assert [row.reused for row in after] == [True, False, True, True]
    assert [after[0].fact.value, after[2].fact.value] == [before[1].fact.value, before[2].fact.value]
    assert after[1].fact.value not in [row.fact.value for row in before]
