"""Checks: what each says of rows, verdicts and counts, and that a blocking one keeps its shard out of the export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.decide import Summary
from dj_assets.defs import checks
from dj_assets.defs.assets import RecipeGraph
from dj_assets.defs.jobs import run_recipe
from dj_assets.operators._contract import Stat
from dj_assets.plan import Plan, Step
from dj_assets.recipe import Checks
from dj_assets.store.rows import Fact, Row, Verdict
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import DURATION, FakeMeasure, figures, make_test_plan, write_manifest
from dj_assets_tests.plans import a_broken_sample, a_sample, a_step

ASSET = dg.AssetKey("a")
INF = float("inf")
RATIO = Stat("ratio", "share", low=0, high=1)
WIDTH = Stat("width", "px", low=1, is_integer=True)


def step_of(stat: Stat) -> Step:
    return a_step("some_filter", stats=[stat])


def rows_of(stat: Stat, values: Sequence[float | None]) -> list[Row]:
    return [
        Row(f"ds:{n}", "videos", 0, f"/{n}.mp4", Fact(str(n), "some_filter", "m", stat.name, value))
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("stat", "values", "outside"),
    [
        pytest.param(RATIO, [0.0, 0.5, 1.0], 0, id="both ends belong to it"),
        pytest.param(RATIO, [None, 0.5], 0, id="no number is in no range"),
        pytest.param(RATIO, [-0.1, 1.1], 2, id="below and above"),
        pytest.param(RATIO, [float("nan"), INF], 2, id="not finite"),
        pytest.param(WIDTH, [INF], 1, id="infinite, though the range has no end"),
        pytest.param(WIDTH, [720.0, 720.5], 1, id="half a pixel"),
        pytest.param(WIDTH, [0.0], 1, id="no width"),
    ],
)
def test_numbers_that_cannot_be(stat: Stat, values: list[float | None], outside: int) -> None:
    result = checks.check_range(ASSET, step_of(stat), rows_of(stat, values))
    assert result.passed is (outside == 0)
    assert result.metadata["outside"].value == outside
    assert result.severity == dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize(
    ("undecided", "share", "passed"),
    [
        pytest.param(0, 0.0, True, id="none"),
        pytest.param(5, 0.05, True, id="as many as allowed"),
        pytest.param(6, 0.05, False, id="one more"),
        pytest.param(100, 1.0, True, id="any"),
    ],
)
def test_few_undecided(undecided: int, share: float, passed: bool) -> None:
    summary = Summary(100, 100 - undecided, {}, {"timed_out": undecided} if undecided else {})
    result = checks.check_undecided(ASSET, summary, Checks(max_undecided_share=share))
    assert result.passed is passed
    assert passed or "6 timed_out" in (result.description or "")


@pytest.mark.parametrize(
    ("kept", "samples", "passed"),
    [
        pytest.param(1, 9, True, id="one"),
        pytest.param(0, 9, False, id="none"),
        pytest.param(0, 0, True, id="no sample"),
    ],
)
def test_something_kept(kept: int, samples: int, passed: bool) -> None:
    result = checks.check_kept(ASSET, Summary(samples, kept, {}, {}))
    assert result.passed is passed
    assert result.severity == dg.AssetCheckSeverity.WARN


OTHERS = {f"ds-{n:05d}": (500 + n, 1000) for n in range(8)}


@pytest.mark.parametrize(
    ("counts", "others", "far"),
    [
        pytest.param({"x": (503, 1000)}, OTHERS, [], id="as usual"),
        pytest.param({"x": (900, 1000)}, OTHERS, ["x"], id="far off"),
        pytest.param({"x": (9, 10)}, OTHERS, [], id="too few samples to tell"),
        pytest.param({"x": (900, 1000)}, {}, [], id="nothing to compare with"),
        pytest.param({"x": (0, 0)}, OTHERS, [], id="no sample"),
        pytest.param({**OTHERS, "x": (100, 1000)}, {}, ["x"], id="within the run itself"),
    ],
)
def test_keep_rates(counts: dict[str, tuple[int, int]], others: dict[str, tuple[int, int]], far: list[str]) -> None:
    results = dict(checks.check_keep_rates(ASSET, counts, others, Checks()))
    assert results.keys() == counts.keys()
    assert [key for key, result in results.items() if not result.passed] == far
    assert {result.severity for result in results.values()} == {dg.AssetCheckSeverity.WARN}


def test_a_tolerance_of_the_recipe_is_kept_to() -> None:
    [(_, result)] = checks.check_keep_rates(ASSET, {"x": (900, 1000)}, OTHERS, Checks(max_drift=1000))
    assert result.passed


@pytest.mark.parametrize(
    ("values", "num_others", "passed"),
    [
        pytest.param([0.30, 0.31, 0.32] * 30, 6, True, id="as usual"),
        pytest.param([0.80, 0.81, 0.82] * 30, 6, False, id="far off"),
        pytest.param([0.80, 0.81, 0.82] * 30, 4, True, id="too few others"),
        pytest.param([0.80], 6, True, id="one number"),
        pytest.param([None, None], 6, True, id="no number"),
    ],
)
def test_medians(values: list[float | None], num_others: int, passed: bool) -> None:
    others = {str(n): {"ratio": [0.3, 0.3 + n / 1000, 0.4]} for n in range(num_others)} | {"none": {}}
    result = checks.check_medians(ASSET, step_of(RATIO), rows_of(RATIO, values), others, Checks())
    assert result.passed is passed
    assert passed or result.description == "ratio is 0.81, where 0.3025 is usual in 6 other shards"


VERDICTS = [
    Verdict("1", "kept"),
    Verdict("2", "dropped"),
    Verdict("3", "undecided", status="timed_out"),
    Verdict("4", "undecided", status="malformed"),
]


@pytest.mark.parametrize(
    ("lines", "keeps", "passed"),
    [
        pytest.param({"kept": 1, "dropped": 1, "undecided": 2}, False, True, id="set aside"),
        pytest.param({"kept": 2, "dropped": 1, "undecided": 1}, True, True, id="kept, but for the malformed"),
        pytest.param({"kept": 2, "dropped": 0, "undecided": 2}, False, False, id="same sum, other outcomes"),
        pytest.param({"kept": 1, "dropped": 1}, False, False, id="lines lost"),
        pytest.param({"kept": 1, "dropped": 1, "undecided": 2, "other": 1}, False, False, id="an outcome of its own"),
    ],
)
def test_lines_by_outcome(lines: dict[str, int], keeps: bool, passed: bool) -> None:
    samples = [a_sample(1), a_sample(2), a_sample(3), a_broken_sample(4)]
    assert checks.check_lines_by_outcome(ASSET, lines, samples, VERDICTS, keeps_undecided=keeps).passed is passed


# --- in a run

SHARDS = [f"ds-{number:05d}" for number in range(2)]


def test_a_shard_with_a_number_that_cannot_be_stays_out_of_the_export_and_the_other_goes_through(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    write_manifest(tmp_path, 4)
    fake_measure.value = lambda step, sample: -1.0 if sample == "ds.jsonl:3" else 100.0
    plan = make_test_plan(tmp_path, shard_size=2, steps={DURATION: {}})
    store, graph = Store(tmp_path / "store"), RecipeGraph(plan)
    report = run_recipe(plan, instance=instance, store_root=store.root)

    assert [(shard.shard_key, shard.success) for shard in report.shards] == [(SHARDS[0], True), (SHARDS[1], False)]
    assert checks.IN_RANGE in report.failed[0].failure
    assert not store.verdicts_path("clips", SHARDS[1]).exists()
    assert [path.stem for path in store.export_parts("clips").glob("*.part")] == [SHARDS[0]]
    kept = report.paths["kept"].read_text(encoding="utf-8")
    assert kept.count("\n") == 2 and "clip3.mp4" not in kept and "clip4.mp4" not in kept
    assert figures(instance, graph.export, SHARDS[0])["shards_missing"] == 1

    # Nor does a run of `filtered` alone, in which that check has no say, let it in.
    again = run_recipe(
        plan,
        instance=instance,
        store_root=store.root,
        shard_keys=SHARDS[1:],
        selection=[graph.filtered, graph.export],
    )
    assert "numbers that cannot be, ds.jsonl:3 videos[0] video_duration = -1" in again.failed[0].failure
    assert [path.stem for path in store.export_parts("clips").glob("*.part")] == [SHARDS[0]]


def test_a_part_whose_lines_are_not_the_verdicts_is_withdrawn(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hands back other lines for one shard than were written."""
    from dj_assets import export

    count = export.lines_of_part

    def one_line_short(plan: Plan, key: str, folder: Path) -> dict[str, int]:
        found = count(plan, key, folder)
        return {**found, "kept": found["kept"] - (key == SHARDS[1])}

    monkeypatch.setattr(export, "lines_of_part", one_line_short)
    write_manifest(tmp_path, 4)
    plan = make_test_plan(tmp_path, shard_size=2, steps={DURATION: {}})
    run_recipe(plan, instance=instance, store_root=tmp_path / "store")
    found = figures(instance, RecipeGraph(plan).export, SHARDS[1])
    assert (found["files_samples"], found["shards_missing"]) == (2, 1)


def test_stats_show_a_histogram_quantiles_costs_and_where_their_columns_come_from(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    write_manifest(tmp_path, 5)
    fake_measure.value = lambda step, sample: float(sample.rsplit(":", 1)[1])
    plan = make_test_plan(tmp_path, steps={DURATION: {"min_duration": 2}})
    graph = RecipeGraph(plan)
    run_recipe(plan, instance=instance, store_root=tmp_path / "store")
    found = figures(instance, graph.stats(plan.steps[0]), "ds-00000")
    assert found["video_duration_histogram"].startswith("![video_duration](data:image/svg+xml;base64,")
    assert [found[f"video_duration_{name}"] for name in ("p05", "p25", "median", "p75", "p95")] == pytest.approx(
        [1.2, 2, 3, 4, 4.8]
    )
    assert (found["cost_seconds"], found["cost_seconds_per_video"]) == (5.0, 1.0)
    lineage = found["dagster/column_lineage"].deps_by_column
    assert [(dep.asset_key, dep.column_name) for dep in lineage["value"]] == [(graph.samples, "videos")]
    verdicts = figures(instance, graph.filtered, "ds-00000")["dagster/column_lineage"].deps_by_column
    assert [dep.asset_key for dep in verdicts["values"]] == [graph.stats(plan.steps[0])]


def test_a_shard_unlike_the_five_before_it_warns_and_is_exported_all_the_same(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    write_manifest(tmp_path, 240)
    fake_measure.value = lambda step, sample: 3.0 if int(sample.rsplit(":", 1)[1]) > 200 else 100.0
    plan = make_test_plan(tmp_path, shard_size=40, steps={DURATION: {"min_duration": 10}})
    report = run_recipe(plan, instance=instance, store_root=tmp_path / "store")
    assert report.success and len(report.shards) == 6
    failed = {
        (shard.shard_key, check.check_name, check.severity)
        for shard in report.shards
        for event in instance.all_logs(shard.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if event.dagster_event and not (check := event.dagster_event.asset_check_evaluation_data).passed
    }
    names = (checks.MEDIANS_AS_USUAL, checks.KEEP_RATE_AS_USUAL, checks.SOMETHING_KEPT)
    assert failed == {("ds-00005", name, dg.AssetCheckSeverity.WARN) for name in names}
