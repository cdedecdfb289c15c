"""What `plan` foretells, on plans, samples and stored facts made by hand."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dj_assets.cli.forecast import Forecast, Forecaster, PassForecast, StepForecast, add_shard, forecast_stages
from dj_assets.measure import info_of
from dj_assets.operators._contract import Compute, Operator, Scores
from dj_assets.plan import Pass, Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.samples import Sample
from dj_assets.store import probes
from dj_assets.store.products import Kept, ProductFile, ProductKey, fact_of
from dj_assets.store.rows import Fact, Provenance
from dj_assets.store.store import Store
from dj_assets_tests.mappers import Cutter, a_mapper_step
from dj_assets_tests.plans import a_plan, a_sample, a_step

SHORT = a_step("video_duration_filter", StatRange("video_duration", 1.0, 9.0))
MOTION = a_step("video_motion_score_filter", StatRange("video_motion_score", 2.0, 99.0), number=2)

PROVENANCE = Provenance(asset="r/stats", shard="s", recipe="r", recipe_sha256="0", code_version="1")

Known = Mapping[tuple[str, str], tuple[float | None, float]]
"""(step key, content hash) -> (value, cost in seconds)."""


def two_passes(*, short_circuit: bool = True) -> Plan:
    """Duration from headers, then motion from frames."""
    plan = a_plan(SHORT, MOTION, short_circuit=short_circuit)
    return replace(plan, passes=(Pass("header", (SHORT,)), Pass("cpu", (_on_frames(MOTION),))))


def _on_frames(step: Step) -> Step:
    operator: Operator = replace(
        step.operator, compute="cpu", read=None, plan=lambda info, params: None, score=lambda *_: Scores(None)
    )
    return replace(step, operator=operator)


def samples(**contents: str) -> list[Sample]:
    """One sample per keyword: path -> content hash, or a status after an exclamation mark. Every file has 100 bytes."""
    made = []
    for number, (path, content) in enumerate(contents.items(), 1):
        sample = a_sample(number, path)
        [video] = sample.videos
        fields = {"status": content[1:]} if content.startswith("!") else {"content_hash": content, "num_bytes": 100}
        made.append(replace(sample, videos=(replace(video, **fields),)))
    return made


def foretell(plan: Plan, *shards: list[Sample], known: Known | None = None) -> Forecast:
    def find_facts(operator: str, measure_id: str, hashes: Collection[str]) -> dict[str, tuple[Fact, ...]]:
        return {
            content: (
                Fact(content, operator, measure_id, step.operator.stats[0].name, value, cost_seconds=cost)
                if value is not None
                else Fact(content, operator, measure_id, step.operator.stats[0].name, None, status="unreadable"),
            )
            for (key, content), (value, cost) in (known or {}).items()
            for step in plan.steps
            if step.key == key and step.measure_id == measure_id and content in hashes
        }

    forecaster = Forecaster(plan, find_facts)
    for shard in shards:
        forecaster.add(shard)
    return forecaster.forecast


def counts(forecast: Forecast, compute: Compute) -> dict[str, int]:
    [one] = [one for one in forecast.passes if one.pass_.compute == compute]
    [step] = one.steps
    sizes = {"reuse": len(step.reuse), "measure": len(step.measure), "maybe": step.num_maybe, "skip": len(step.skip)}
    return {name: count for name, count in sizes.items() if count}


def test_with_an_empty_store_everything_is_measured_the_second_pass_perhaps() -> None:
    forecast = foretell(two_passes(), samples(a="A", b="B"))
    assert counts(forecast, "header") == {"measure": 2}
    assert counts(forecast, "cpu") == {"measure": 2, "maybe": 2}
    assert [one.num_decodes for one in forecast.passes] == [0, 2]


def test_known_numbers_that_drop_a_sample_spare_its_decode_and_those_that_do_not_make_it_certain() -> None:
    known = {(SHORT.key, "A"): (0.5, 1.0), (SHORT.key, "B"): (5.0, 1.0)}
    forecast = foretell(two_passes(), samples(a="A", b="B", c="C"), known=known)
    assert counts(forecast, "header") == {"reuse": 2, "measure": 1}
    assert counts(forecast, "cpu") == {"measure": 2, "maybe": 1, "skip": 1}


def test_without_short_circuit_every_video_is_measured_for_certain() -> None:
    forecast = foretell(two_passes(short_circuit=False), samples(a="A"), known={(SHORT.key, "A"): (0.5, 1.0)})
    assert counts(forecast, "cpu") == {"measure": 1}


def test_a_content_counts_once_however_often_and_in_however_many_shards_it_is_listed() -> None:
    forecast = foretell(two_passes(), samples(a="A", copy="A"), samples(again="A", b="B"))
    assert (forecast.samples, forecast.videos, len(forecast.contents)) == (4, 4, 2)
    assert counts(forecast, "header") == {"measure": 2}


def test_what_one_shard_skips_and_another_needs_is_measured() -> None:
    first, second = samples(a="A"), samples(other="O")
    both = replace(second[0], videos=(second[0].videos[0], replace(first[0].videos[0], position=1)))
    known = {(SHORT.key, "A"): (0.5, 1.0), (SHORT.key, "O"): (5.0, 1.0)}
    forecast = foretell(two_passes(), first, [both], known=known)
    assert counts(forecast, "cpu") == {"measure": 2}


def test_a_file_that_cannot_be_opened_is_told_by_its_status_and_measured_by_nobody() -> None:
    forecast = foretell(two_passes(), samples(gone="!missing", a="A"))
    assert forecast.cannot_open == {"missing": 1}
    assert forecast.passes[1].steps[0].cannot_open == {"missing": 1}
    assert counts(forecast, "header") == {"measure": 1}


def test_a_failure_that_is_known_is_reused() -> None:
    forecast = foretell(two_passes(), samples(a="A"), known={(SHORT.key, "A"): (None, 0.0)})
    assert counts(forecast, "header") == {"reuse": 1}


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (StepForecast(SHORT), 0.0),
        (StepForecast(SHORT, measure={"B": 300}), None),
        (StepForecast(SHORT, reuse={"A": 100}, measure={"B": 300}, costs={"A": 2.0}), 6.0),
    ],
    ids=["nothing to do", "nothing to go by", "three times the bytes"],
)
def test_expected_seconds_go_by_what_known_videos_cost_per_byte(step: StepForecast, seconds: float | None) -> None:
    assert step.worker_seconds == seconds
    assert PassForecast(Pass("header", (SHORT,)), [step]).worker_seconds == seconds


def test_a_changed_option_is_named_and_its_cost_expected() -> None:
    plan = two_passes()
    step = plan.passes[0].steps[0]
    mine = info_of(step)
    before = replace(mine, measure_id="before", version=mine.version + 1)
    facts = {"A": (Fact("A", mine.operator, "before", step.operator.stats[0].name, 1.0),)}

    def find_facts(operator: str, measure_id: str, hashes: Collection[str]) -> dict[str, tuple[Fact, ...]]:
        return {key: value for key, value in facts.items() if measure_id == "before" and key in hashes}

    forecaster = Forecaster(
        plan,
        find_facts,
        measures=lambda operator: [before] if operator == mine.operator else [],
        recent_costs=lambda operator, measure_id: {"A": 2.0, "Z": 4.0} if measure_id == "before" else {},
    )
    forecaster.add(samples(a="A", b="B"))
    [forecast] = forecaster.forecast.passes[0].steps
    assert forecast.otherwise_known == {f"version {before.version} → {mine.version}": {"A"}}
    assert forecast.worker_seconds == 6.0, "two videos, each as dear as under the other version"
    assert forecaster.forecast.passes[1].worker_seconds is None, "of this operator nothing is known"


def test_what_an_earlier_run_has_cost_tells_what_larger_videos_will(tmp_path: Path) -> None:
    """A second dataset whose videos are more than twice as much work each, which the mean of a video would not tell.
    Some of its videos were opened under another measure, of the others only the bytes are known."""
    store = Store(tmp_path)
    step = two_passes().passes[1].steps[0]
    small, large = make_videos(60, seed=1, heights=(360, 720)), make_videos(40, seed=2, heights=(720, 1080))
    facts = [
        Fact(key, step.operator.name, step.measure_id, step.operator.stats[0].name, 1.0, cost_seconds=seconds)
        for key, (_, _, seconds) in small.items()
    ]
    store.append_facts(facts, PROVENANCE)
    probed = {key: probe for key, (_, probe, _) in [*small.items(), *list(large.items())[:30]]}
    store.append_probes(probed, PROVENANCE)
    forecaster = Forecaster(
        two_passes(),
        store.find_facts,
        store.measures,
        store.recent_costs,
        lambda hashes: probes.find(store.root, hashes),
    )
    listed = [samples(**{f"v{key}": key}) for key in [*list(small)[:20], *large]]
    sizes = {key: num_bytes for key, (num_bytes, _, _) in {**small, **large}.items()}
    for [one] in listed:
        video = one.videos[0]
        sized = replace(video, num_bytes=sizes[video.content_hash])
        forecaster.add([replace(one, sample_id=video.content_hash, videos=(sized,))])
    expected = forecaster.forecast.passes[1].steps[0].worker_seconds
    actual = sum(seconds for _, _, seconds in large.values())
    by_the_video = 40 * sum(seconds for _, _, seconds in small.values()) / len(small)
    assert expected == pytest.approx(actual, rel=0.25)
    assert by_the_video < actual / 2


def make_videos(count: int, *, seed: int, heights: tuple[int, int]) -> dict[str, tuple[int, dict[str, Any], float]]:
    """Content hash → (bytes, probe, worker seconds): a tenth of a second a megapixel-second, give or take a third; a
    file's bytes say less of the work than that."""
    luck = random.Random(seed)
    made = {}
    for number in range(count):
        height, seconds = luck.choice(heights), luck.uniform(2, 30)
        width = height * 16 // 9
        work = width * height / 1e6 * seconds
        probe = {**dict.fromkeys(probes.COLUMNS), "width": width, "height": height, "duration_seconds": seconds}
        made[f"{seed}-{number}"] = (int(work * 1e5 * luck.uniform(0.3, 3)), probe, 0.1 * work * luck.uniform(0.7, 1.3))
    return made


# --- stages


def test_a_forecast_follows_products_that_are_there_and_says_what_it_cannot_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three samples pass the filter as far as is known: one has its products, one has none, of one it is not known."""
    step = a_mapper_step(clip_per_sample=True)
    first = a_plan(SHORT, dataset_path=tmp_path / "ds.jsonl")
    plan = replace(a_plan(MOTION), before=replace(first, recipe=replace(first.recipe, name="r__1")), made_by=step)
    store = Store(tmp_path / "store")
    kept = samples(**{"a.mp4": "a" * 32, "b.mp4": "b" * 32, "c.mp4": "c" * 32, "d.mp4": "d" * 32})
    numbers = {"a": 5.0, "b": 5.0, "d": 0.5}
    facts = [
        Fact(name * 32, SHORT.operator.name, SHORT.measure_id, "video_duration", value)
        for name, value in numbers.items()
    ]
    cutter = Cutter(monkeypatch)
    made = [ProductFile(str(tmp_path / f"a_{number}.mp4"), content_hash=f"{number}" * 32) for number in range(2)]
    for number, product in enumerate(made):
        Path(product.path).write_text("x")
        about = Path(product.path).stat()
        made[number] = replace(product, num_bytes=about.st_size, modified_ns=about.st_mtime_ns)
    about_a = {"mapper": step.mapper.name, "measure_id": step.measure_id, "device": "cpu", "measured_at": "2026"}
    facts.append(fact_of(ProductKey("a" * 32), Kept(tuple(made)), cost_seconds=3.0, **about_a))
    facts.append(Fact("0" * 32, MOTION.operator.name, MOTION.measure_id, "video_motion_score", 9.0))
    store.append_facts(facts, PROVENANCE)

    stages = forecast_stages(plan, store)
    add_shard(stages, "ds-00000", kept, store)
    made_by = stages[1].made
    assert made_by is not None
    assert {key.content_hash[0] for key in made_by.reuse} == {"a"}
    assert {key.content_hash[0] for key in made_by.make} == {"b"}
    assert {key.content_hash[0] for key in made_by.maybe} == {"c"}
    assert made_by.waiting == 2
    assert made_by.worker_seconds == 6.0
    assert stages[1].forecast.samples == 2
    [motion] = stages[1].forecast.passes[0].steps
    assert (set(motion.reuse), set(motion.measure)) == ({"0" * 32}, {"1" * 32})
    assert cutter.calls == []
