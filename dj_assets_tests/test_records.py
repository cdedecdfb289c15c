"""Recipes that look at records beside videos: one row per sample, in tables, exports, diffs, charts and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dj_assets import evidence, operators, rebuild
from dj_assets.analysis import analyse
from dj_assets.analysis_report import picture_name, stats_lines
from dj_assets.cli.forecast import Forecaster
from dj_assets.cli.outcome import example_of
from dj_assets.columns import columns, columns_of, sample_table, stored_columns
from dj_assets.decide import check_rows, decide
from dj_assets.decide_sql import verdicts
from dj_assets.diff import compare
from dj_assets.diff.changes import changes
from dj_assets.errors import RecipeErrors, StoreError
from dj_assets.export import ExportResult, merge_parts, write_part
from dj_assets.export_manifest import read_manifest
from dj_assets.measure import measure_pass
from dj_assets.plan import Plan, Step
from dj_assets.recipe import Limits
from dj_assets.records import OperatorFault, tables_of
from dj_assets.samples import Sample, Video
from dj_assets.store.lineage import Question, blast_radius, explain
from dj_assets.store.rows import Row
from dj_assets.store.store import Store
from dj_assets.studio.bounds import state_of
from dj_assets.studio.session import Session
from dj_assets_tests.operators.on_records import plan_of, samples_of, verdicts_on
from dj_assets_tests.plans import a_broken_sample, a_fact
from dj_assets_tests.store.nouns import PROVENANCE

DURATION, LENGTH, LICENSE, NUMERIC, GENERAL = (
    "video_duration_filter",
    "text_length_filter",
    "specified_field_filter",
    "specified_numeric_field_filter",
    "general_field_filter",
)
MIXED = (
    (DURATION, {"min_duration": 2}),
    (LENGTH, {"min_len": 5, "max_len": 20}),
    (LICENSE, {"field_key": "license", "target_value": ["cc"]}),
    (NUMERIC, {"field_key": "meta.views", "min_value": 10}),
)


def a_sample(number: int, seconds: Sequence[float], **record: Any) -> Sample:
    """A sample whose videos' contents are named after how long they last."""
    videos = tuple(
        Video("videos", at, f"{number}-{at}.mp4", f"/data/{number}-{at}.mp4", f"lasts {length}")
        for at, length in enumerate(seconds)
    )
    whole = {"videos": [video.given for video in videos], **record}
    return Sample(f"ds.jsonl:{number}", "ds.jsonl", number, whole, videos)


SAMPLES = [
    a_sample(1, [3.0, 1.0], text="a good one", license="cc", meta={"views": 10}),
    a_sample(2, [1.0], text="too short", license="cc", meta={"views": 30}),
    a_sample(3, [3.0], text="long", license="cc", meta={"views": 30}),
    a_sample(4, [], text="no video", license="nc", meta={"views": 30}),
    a_sample(5, [3.0], text="no views", license="cc", meta=None),
    a_sample(6, [3.0], text=None, license="nc", meta={"views": "many"}),
    a_broken_sample(7, raw="{oops"),
]
OUTCOMES = [
    ("kept", "", ""),
    ("dropped", DURATION, ""),
    ("dropped", LENGTH, ""),
    ("dropped", LICENSE, ""),
    ("undecided", NUMERIC, "no_value"),
    ("dropped", LICENSE, ""),  # though its text and its views cannot be judged
    ("undecided", "", "malformed"),
]


def tables(plan: Plan, samples: Sequence[Sample] = SAMPLES) -> dict[str, list[Row]]:
    """What passes leave: durations as the contents say, and what records say."""
    found = tables_of(plan.on_records, samples)
    for step in plan.steps:
        if not step.is_about_samples:
            found[step.key] = [
                Row(sample.sample_id, video.field, video.position, video.path, duration(step, video))
                for sample in samples
                for video in step.videos(sample)
            ]
    return found


def duration(step: Step, video: Video) -> Any:
    fact = a_fact(step, "video_duration", float(video.content_hash.removeprefix("lasts ")))
    return replace(fact, content_hash=video.content_hash)


def stored(folder: Path, plan: Plan) -> Store:
    """A store after a run of the plan over the samples."""
    store = Store(folder)
    origin = replace(PROVENANCE, shard="ds-00000", recipe="r")
    store.write_samples("r", "ds-00000", SAMPLES, origin)
    made = tables(plan)
    for step in plan.steps:
        store.write_stats("r", step.key, "ds-00000", made[step.key], replace(origin, code_version=step.measure_id))
    store.append_facts([row.fact for row in made.get(DURATION, ())], PROVENANCE)
    store.write_verdicts("r", "ds-00000", decide(plan, SAMPLES, made), replace(origin, code_version=plan.bounds_id))
    return store


def export(plan: Plan, store: Store) -> ExportResult:
    made = tables(plan)
    write_part(plan, "ds-00000", SAMPLES, decide(plan, SAMPLES, made), made, store.export_parts("r"))
    return merge_parts(plan, ["ds-00000"], store.export_parts("r"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- plans


def test_records_are_looked_at_first_and_name_no_field_of_videos() -> None:
    plan = plan_of(*MIXED)
    assert [(one.compute, [step.key for step in one.steps]) for one in plan.passes] == [
        ("record", [LENGTH, LICENSE, NUMERIC]),
        ("header", [DURATION]),
    ]
    assert plan.video_keys == ("videos",)
    assert [step.stat_names for step in plan.steps] == [
        ("video_duration",),
        ("text_len",),
        ("license",),
        ("meta.views",),
    ]


def test_the_text_is_where_the_recipe_says_and_part_of_the_measure() -> None:
    [as_recipe] = plan_of((LENGTH, {}), text_key="caption").steps
    [as_step] = plan_of((LENGTH, {"text_key": "caption"})).steps
    [other] = plan_of((LENGTH, {})).steps
    assert as_recipe.measure_id == as_step.measure_id != other.measure_id
    [verdict] = verdicts_on(plan_of((LENGTH, {"min_len": 3}), text_key="caption"), [{"caption": "four"}])
    assert verdict.outcome == "kept"


def test_options_about_videos_have_no_effect_and_say_so() -> None:
    notes = plan_of((LENGTH, {"video_key": "clips", "any_or_all": "all", "image_key": "x"})).notes
    assert [note.split(" has no effect here: ")[0] for note in notes] == [
        f"{LENGTH}.{option}" for option in ("video_key", "any_or_all", "image_key")
    ]


def test_a_tokenizer_is_refused_with_its_reason() -> None:
    with pytest.raises(RecipeErrors, match="SentencePiece") as caught:
        plan_of(("words_num_filter", {"tokenization": True}))
    [error] = caught.value.errors
    assert (error.option, error.try_) == ("tokenization", "the default, false")


def test_a_range_that_no_sample_meets_is_refused() -> None:
    with pytest.raises(RecipeErrors, match="no sample can pass"):
        plan_of((LENGTH, {"min_len": 30, "max_len": 20}))


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("alphanumeric_filter", {"tokenization": False, "min_ratio": 0.0, "max_ratio": 0.9}),
        (GENERAL, {"filter_condition": ""}),
        (LICENSE, {"field_key": "", "target_value": []}),
        (NUMERIC, {"field_key": "", "min_value": 0, "max_value": 10000}),
        ("suffix_filter", {"suffixes": []}),
        (LENGTH, {"min_len": 10, "max_len": 10000}),
        ("words_num_filter", {"lang": "en", "tokenization": False, "min_num": 10, "max_num": 10000}),
    ],
)
def test_the_lines_of_upstreams_config_all_are_read_as_they_are(operator: str, options: dict[str, Any]) -> None:
    assert plan_of((operator, options)).steps[0].operator.name == operator


# --- what stands under __dj__stats__


def test_stats_that_came_with_the_manifest_are_read() -> None:
    plan = plan_of((NUMERIC, {"field_key": "__dj__stats__.score", "min_value": 1}))
    records = [{"__dj__stats__": {"score": 2}}, {"__dj__stats__": {"score": 0.5}}, {"__dj__stats__": {}}, {}]
    assert [verdict.outcome for verdict in verdicts_on(plan, records)] == ["kept", "dropped", "undecided", "undecided"]


def test_stats_of_earlier_steps_on_records_are_read_and_are_part_of_the_measure() -> None:
    condition = {"filter_condition": "__dj__stats__.text_len > 5 or __dj__stats__.num_words >= 2"}
    plan = plan_of((LENGTH, {"min_len": 0}), ("words_num_filter", {"min_num": 0}), (GENERAL, condition))
    texts = ["a b", "abcdef", "abc"]
    assert [v.outcome for v in verdicts_on(plan, [{"text": text} for text in texts])] == ["kept", "kept", "dropped"]
    alone = plan_of((GENERAL, condition)).steps[0]
    elsewhere = plan_of((LENGTH, {"min_len": 0, "text_key": "t"}), ("words_num_filter", {}), (GENERAL, condition))
    assert len({step.measure_id for step in (plan.steps[2], alone, elsewhere.steps[2])}) == 3
    moved = plan_of((LENGTH, {"min_len": 9}), ("words_num_filter", {"min_num": 0}), (GENERAL, condition))
    assert moved.steps[2].measure_id == plan.steps[2].measure_id, "a bound moves no number"


def test_a_stat_that_is_measured_anew_goes_before_the_one_that_came() -> None:
    plan = plan_of((LENGTH, {"min_len": 0}), (NUMERIC, {"field_key": "__dj__stats__.text_len", "min_value": 3}))
    [verdict] = verdicts_on(plan, [{"text": "ab", "__dj__stats__": {"text_len": 99}}])
    assert (verdict.outcome, verdict.values) == ("dropped", (2.0,))


@pytest.mark.parametrize(
    ("operator", "option", "value"),
    [
        (NUMERIC, "field_key", "__dj__stats__.video_duration"),
        (LICENSE, "field_key", "__dj__stats__.video_duration"),
        (GENERAL, "filter_condition", "n > 3 and 2 in __dj__stats__.video_duration"),
    ],
)
def test_a_videos_number_of_the_same_recipe_cannot_be_read(operator: str, option: str, value: str) -> None:
    with pytest.raises(RecipeErrors) as caught:
        plan_of((DURATION, {}), (operator, {option: value}))
    [error] = caught.value.errors
    assert error.option == option and "step 1 video_duration_filter" in error.given
    assert error.allowed and "bounds of video_duration_filter" in error.try_
    assert plan_of((operator, {option: value}), (DURATION, {})).steps, "a later step's is the manifest's own"


# --- tables and verdicts


def test_rows_out_are_samples_in() -> None:
    plan = plan_of(*MIXED)
    made = tables(plan)
    for step in plan.on_records:
        found = check_rows(step, SAMPLES, made[step.key])
        assert found.is_complete and found.expected == len(SAMPLES)
        lost = check_rows(step, SAMPLES, made[step.key][1:])
        assert lost.missing == (f"ds.jsonl:1 {step.operator.stats[0].name}",)


def test_verdicts_name_the_first_step_that_fails_of_records_and_videos(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    made = decide(plan, SAMPLES, tables(plan))
    assert [(verdict.outcome, verdict.step, verdict.status.replace("ok", "")) for verdict in made] == OUTCOMES
    assert made[2].values == (4.0,) and made[2].bound == "text_len >= 5 and text_len <= 20"
    assert made[3].values == (0.0,) and made[3].bound == "field_is_target >= 1"
    assert verdicts(plan, stored(tmp_path, plan)) == made


def test_a_pass_on_records_takes_no_worker_and_leaves_no_facts(tmp_path: Path) -> None:
    plan, store = plan_of(*MIXED), Store(tmp_path)
    result = measure_pass(
        plan.passes[0],
        samples=SAMPLES,
        store=store,
        limits=Limits(),
        roots=[],
        workers=0,
        wanted=[LENGTH, NUMERIC],
        still_in=[],
        provenance=PROVENANCE,
    )
    assert {key: len(rows) for key, rows in result.tables.items()} == {LENGTH: 7, NUMERIC: 7}
    assert [row.fact.status for row in result.tables[LENGTH]] == ["ok"] * 5 + ["no_value", "malformed"]
    assert not any(row.fact.status == "skipped" for rows in result.tables.values() for row in rows)
    assert not list(tmp_path.glob("measures/*/*/*.parquet"))
    assert [info.params for info in store.measures(LENGTH)] == [{"text_key": "text"}]


def test_an_operators_own_fault_spoils_its_table_alone(tmp_path: Path) -> None:
    def fails(record: Mapping[str, Any], params: Any) -> list[float]:
        raise KeyError("views")

    plan = plan_of((LENGTH, {}), (NUMERIC, {"field_key": "n"}))
    broken = replace(plan.steps[1], operator=replace(plan.steps[1].operator, judge=fails))
    pass_ = replace(plan.passes[0], steps=(plan.steps[0], broken))
    result = measure_pass(
        pass_,
        samples=samples_of([{"text": "a", "n": 1}]),
        store=Store(tmp_path),
        limits=Limits(),
        roots=[],
        workers=0,
        wanted=[LENGTH, NUMERIC],
        still_in=None,
        provenance=PROVENANCE,
    )
    assert list(result.tables) == [LENGTH]
    assert "KeyError: 'views'" in str(result.errors[NUMERIC])
    with pytest.raises(OperatorFault, match=r"ds\.jsonl:1"):
        tables_of(pass_.steps, samples_of([{"text": "a"}]))


# --- exports


def test_stats_are_scalars_as_upstream_writes_them(tmp_path: Path) -> None:
    plan = plan_of(*MIXED, (GENERAL, {"filter_condition": "1 < 2"}), export_path=tmp_path / "res.jsonl")
    export(plan, Store(tmp_path / "store"))
    [kept] = lines(tmp_path / "res_stats.jsonl")
    assert kept["__dj__stats__"] == {
        "video_duration": [3.0, 1.0],
        "text_len": 10,
        "license": "cc",
        "meta.views": 10,
        "general_field_filter_condition": True,
    }
    assert '"text_len": 10,' in (tmp_path / "res_stats.jsonl").read_text(), "a whole number"
    left = {line["__dj__verdict__"]["sample_id"]: line for line in lines(tmp_path / "res_dropped.jsonl")}
    assert left["ds.jsonl:6"]["__dj__stats__"]["text_len"] is None
    assert left["ds.jsonl:6"]["__dj__stats__"]["meta.views"] == "many"
    assert left["ds.jsonl:4"]["__dj__verdict__"]["values"] == [False]
    assert "__dj__stats__" not in left["ds.jsonl:7"], "of no sample there is no stat"


def test_parquet_holds_them_in_columns_of_their_own_types(tmp_path: Path) -> None:
    steps = (*MIXED[:3], (GENERAL, {"filter_condition": "license == 'cc'"}), ("alphanumeric_filter", {}))
    plan = plan_of(*steps, export_path=tmp_path / "res.parquet", export_type="parquet", keep_stats_in_res_ds=True)
    export(plan, Store(tmp_path / "store"))
    table = pq.read_table(tmp_path / "res.parquet")
    kinds = {field.name: str(field.type) for field in table.schema.field("__dj__stats__").type}
    assert kinds == {
        "video_duration": "list<element: double>",
        "text_len": "int64",
        "license": "string",
        "general_field_filter_condition": "bool",
        "alnum_ratio": "double",
    }


def test_an_export_is_rebuilt_from_its_manifest(tmp_path: Path) -> None:
    plan = plan_of(
        *MIXED, (GENERAL, {"filter_condition": "__dj__stats__.text_len > 5"}), export_path=tmp_path / "res.jsonl"
    )
    store = stored(tmp_path / "store", plan)
    made = export(plan, store)
    manifest = read_manifest(made.paths["manifest"])
    assert not any(step in shard.gaps for shard in manifest.shards for step in (LENGTH, NUMERIC))
    assert rebuild.rebuild(made.paths["manifest"], store=store, folder=tmp_path / "again").is_same


def test_records_judged_by_another_version_are_not_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(*MIXED, export_path=tmp_path / "res.jsonl")
    store = stored(tmp_path / "store", plan)
    made = export(plan, store)
    newer = replace(operators.get(LENGTH), version=2)
    monkeypatch.setattr(operators, "get", lambda name: newer)
    with pytest.raises(StoreError, match="text_length_filter is not here in version 1"):
        rebuild.rebuild(made.paths["manifest"], store=store, folder=tmp_path / "again")


# --- columns, diffs, charts


def test_columns_know_records_before_any_run(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    found = columns_of(plan, Store(tmp_path), {"ds-00000": SAMPLES})
    length = found.steps[LENGTH]
    assert length.values[0, :5].tolist() == [10, 9, 4, 8, 8]
    assert length.undecided_by_status() == {"malformed": 1, "no_value": 1}
    assert length.reasons[5].startswith("field 'text' is null")
    assert found.steps[DURATION].undecided_by_status() == {"not_measured": 6}


def test_columns_of_the_store_give_the_verdicts(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    found = stored_columns(plan, stored(tmp_path, plan)).outcomes()
    assert found.counts() == (1, 4, 2)
    keys = [*(step.key for step in plan.steps), ""]
    assert [keys[at] for at in found.deciding] == [step for _, step, _ in OUTCOMES]


def test_a_diff_of_conditions_is_certain_before_the_new_one_was_ever_run(tmp_path: Path) -> None:
    old = plan_of(*MIXED)
    new = plan_of(MIXED[0], (LENGTH, {"min_len": 4, "max_len": 9}), (GENERAL, {"filter_condition": "meta.views > 20"}))
    store = stored(tmp_path, old)
    table = sample_table({"ds-00000": SAMPLES}, recipe="r", with_records=True)
    before = columns(old, store, table)
    diff = compare(before, columns(new, store, table, beside=before))
    assert diff.num_unknown == 0 and not diff.gaps
    assert [moved.sample_id for moved in diff.leaving] == ["ds.jsonl:1"]
    assert [moved.sample_id for moved in diff.entering] == ["ds.jsonl:3", "ds.jsonl:4"]
    assert diff.leaving[0].new.bound == "text_len >= 4 and text_len <= 9"
    assert diff.leaving[0].new.values == (10.0,) and diff.leaving[0].new.field == ""
    assert {f"{change.kind}: {change}" for change in changes(old, new)} == {
        f"bounds: {LENGTH}: min_len: 5 → 4",
        f"bounds: {LENGTH}: max_len: 20 → 9",
        f"step added: {GENERAL} added: keeps general_field_filter_condition >= 1",
        f"step removed: {LICENSE} removed: keeps field_is_target >= 1",
        f"step removed: {NUMERIC} removed: keeps field_value >= 10",
    }


def test_a_diff_tells_why_a_record_is_undecided(tmp_path: Path) -> None:
    old, new = plan_of(MIXED[0]), plan_of(*MIXED)
    store = stored(tmp_path, new)
    table = sample_table({"ds-00000": SAMPLES}, recipe="r", with_records=True)
    diff = compare(columns(old, store, table), columns(new, store, table))
    undecided = next(moved for moved in diff.leaving if moved.sample_id == "ds.jsonl:5")
    assert undecided.new.status == "no_value" and undecided.new.reason.startswith("field 'meta' is null")


def test_the_studio_moves_bounds_of_records_and_leaves_yes_and_no_alone(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    store = stored(tmp_path, plan)
    session = Session(plan, stored_columns(plan, store), store)
    panels = {panel["name"]: panel for step in session.describe()["steps"] for panel in step["panels"]}
    assert panels["license"]["axis"]["low"] < 0 and panels["license"]["axis"]["high"] > 1, "both answers are on it"
    assert panels["license"]["bounds"] == [] and len(panels["text_len"]["bounds"]) == 2
    assert [step["of"] for step in session.describe()["steps"]] == ["videos", "samples", "samples", "samples"]
    state = state_of(plan)
    counts = session.count(state)
    assert (counts["kept"], counts["dropped"], counts["undecided"]) == (1, 4, 2)
    assert counts["steps"][LICENSE]["fails"] == 2
    looser = state.steps[LENGTH].model_copy(update={"bounds": {"min_len": 4.0, "max_len": None}})
    assert session.count(state.model_copy(update={"steps": {**state.steps, LENGTH: looser}}))["kept"] == 2
    near = session.near(state, LENGTH, "min_len", most=5, only_survivors=False)
    assert [(card["sample_id"], card["value"]) for card in near["dropped"]] == [("ds.jsonl:3", 4.0)]
    assert near["dropped"][0]["name"] == "3-0.mp4", "its first video stands for it"
    assert {card["name"] for card in near["kept"]} == {"1-0.mp4", "2-0.mp4", "ds.jsonl:4", "5-0.mp4"}
    [unknown] = [card for card in session.undecided(state, NUMERIC, most=9) if card["sample_id"] == "ds.jsonl:5"]
    assert unknown["status"] == "no_value" and "'meta' is null" in unknown["reason"]
    answers = {step["step"]: step["answer"] for step in session.sample(2, state)["steps"]}
    assert answers == {DURATION: "passes", LENGTH: "fails", LICENSE: "passes", NUMERIC: "passes"}


def test_marks_on_a_samples_first_video_fit_a_bound_on_its_record(tmp_path: Path) -> None:
    plan = plan_of((NUMERIC, {"field_key": "n"}))
    samples = [a_sample(number, [number], n=number) for number in range(1, 7)]
    store = Store(tmp_path)
    session = Session(plan, columns_of(plan, store, {"ds-00000": samples}), store)
    for number in range(6):
        session.mark(number, keep=number >= 3)
    assert session.fit(state_of(plan), NUMERIC, "min_value")["bound"] == 3.5


def test_an_analysis_counts_samples_where_samples_are_looked_at(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    store = stored(tmp_path, plan)
    found = stored_columns(plan, store)
    analysis = analyse(found, store)
    by_name = {stat.name: stat for stat in analysis.stats}
    assert (by_name["text_len"].videos, by_name["text_len"].measured, by_name["text_len"].is_about_samples) == (
        7,
        5,
        True,
    )
    assert (by_name["video_duration"].videos, by_name["video_duration"].is_about_samples) == (6, False)
    assert [example.path for example in by_name["meta.views"].examples if example.status == "no_value"] == [
        "ds.jsonl:5",
        "ds.jsonl:6",
    ]
    assert [cost.step for cost in analysis.costs] == [DURATION]
    assert {(pair.first, pair.second): pair.videos for pair in analysis.pairs}["text_len", "meta.views"] == 4
    first = json.loads(next(stats_lines(found)))
    assert first["__dj__stats__"] == {"video_duration": [3, 1], "text_len": 10, "license": True, "meta.views": 10}


@pytest.mark.parametrize("name", ["a/b", "../../etc", "a..b", "ü", "", "x" * 300, "\ud800"])
def test_a_stat_named_like_any_field_has_a_picture_of_a_plain_name(name: str) -> None:
    assert picture_name(name, "hist") != picture_name(f"{name}.", "hist")
    assert "/" not in picture_name(name, "hist") and len(picture_name(name, "hist")) < 150


# --- pictures, words, forecasts


def test_pictures_are_of_videos_alone(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    made = tables(plan)
    given = (plan, SAMPLES, decide(plan, SAMPLES, made), made)
    assert {exhibit.step.key for exhibit in evidence.choose(*given, kept=3, dropped=9)} <= {DURATION}
    sections = evidence.choose_sheet(*given, boundary=3, undecided=5, random=9)
    cells = [cell for section in sections for cell in section.cells]
    assert {cell.step.key for cell in cells if cell.step is not None} <= {DURATION}
    shown = {cell.sample.sample_id: cell.video for cell in cells}
    assert shown["ds.jsonl:5"] is not None and shown["ds.jsonl:5"].given == "5-0.mp4", "its first video stands for it"


def test_an_undecided_record_is_named_by_its_sample() -> None:
    plan = plan_of(*MIXED)
    verdict = decide(plan, SAMPLES, tables(plan))[4]
    example = example_of(plan.steps, SAMPLES[4], verdict)
    assert (example.status, example.path) == ("no_value", "ds.jsonl:5")


def test_a_forecast_knows_what_records_spare(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    forecaster = Forecaster(plan, Store(tmp_path).find_facts)
    forecaster.add(SAMPLES)
    records, header = forecaster.forecast.passes
    assert records.num_decodes == header.num_decodes == 0
    assert [(len(step.measure), len(step.reuse), len(step.skip)) for step in records.steps] == [(0, 0, 0)] * 3
    [measured] = header.steps
    assert set(measured.measure) == {"lasts 3.0", "lasts 1.0"} and measured.certain == set(measured.measure)
    forecaster = Forecaster(plan, Store(tmp_path).find_facts)
    forecaster.add(SAMPLES[2:4])
    assert not forecaster.forecast.passes[1].steps[0].measure, "both are dropped by what their records say"


def test_why_and_lineage_tell_of_records(tmp_path: Path) -> None:
    plan = plan_of(*MIXED)
    store = stored(tmp_path, plan)
    for step in plan.on_records:
        measure_pass(
            plan.passes[0], samples=[], store=store, limits=Limits(), roots=[], workers=0,
            wanted=[step.key], still_in=None, provenance=PROVENANCE,
        )  # fmt: skip
    [decision] = explain(store.root, "ds.jsonl:3").decisions
    numbers = {number.step: number for number in decision.numbers}
    assert (numbers[LENGTH].value, numbers[LENGTH].field, numbers[LENGTH].path) == (4.0, "", "")
    assert numbers[LENGTH].margin == -1
    radius = blast_radius(store.root, Question(operator=LENGTH))
    assert (radius.samples, radius.videos) == (6, 0), "of a line that is no sample nothing was judged"
