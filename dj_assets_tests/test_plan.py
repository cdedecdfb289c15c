"""From recipe to plan: params, bounds, base options, measure ids, passes, and what is refused before any decoding."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dj_assets import operators
from dj_assets.cli.tables import changed_params
from dj_assets.errors import BadOption, RecipeError, RecipeErrors, UnknownOperator
from dj_assets.operators import _upstream
from dj_assets.operators.video_ocr_area_ratio_filter import OcrParams
from dj_assets.plan import Plan, make_plan
from dj_assets.ranges import StatRange
from dj_assets.recipe import Recipe, Settings, StepSource, load_recipe
from dj_assets.step_options import BASE_OPTIONS_WITHOUT_EFFECT, gpu_device
from dj_assets_tests.mappers import OPERATOR_FILE

REPOSITORY = Path(__file__).resolve().parents[1]

MOTION = "video_motion_score_filter"
OCR = "video_ocr_area_ratio_filter"
DURATION = "video_duration_filter"
RESOLUTION = "video_resolution_filter"
ASPECT = "video_aspect_ratio_filter"

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanOf:
    """The plan of a recipe with these steps: names, or (name, options)."""
    monkeypatch.chdir(tmp_path)

    def plan_of(*steps: str | tuple[str, dict[str, Any]], overrides: tuple[str, ...] = (), **keys: Any) -> Plan:
        process = [step if isinstance(step, str) else {step[0]: step[1]} for step in steps]
        Path("small.yaml").write_text(json.dumps({"dataset_path": "ds.jsonl", "process": process, **keys}))
        return make_plan(load_recipe("small.yaml", overrides))

    return plan_of


def errors_of(plan_of: PlanOf, *steps: str | tuple[str, dict[str, Any]], **more: Any) -> list[RecipeError]:
    with pytest.raises(RecipeErrors) as caught:
        plan_of(*steps, **more)
    found = caught.value.errors
    assert all(fault.given and fault.allowed and fault.try_ for fault in found), "a message has three parts"
    return found


# ── Bounds ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("low_closed", "high_closed", "is_reversed", "kept"),
    [
        pytest.param(True, True, False, [2, 3, 4], id="both ends belong to it, the default"),
        pytest.param(False, True, False, [3, 4], id="open below"),
        pytest.param(True, False, False, [2, 3], id="open above"),
        pytest.param(False, False, False, [3], id="open"),
        pytest.param(True, True, True, [1, 2, 4, 5], id="reversed keeps the ends, as upstream does"),
        pytest.param(False, True, True, [1, 4, 5], id="reversed, open below"),
        pytest.param(True, False, True, [1, 2, 5], id="reversed, open above"),
        pytest.param(False, False, True, [1, 5], id="reversed, open"),
    ],
)
def test_which_values_a_range_from_2_to_4_keeps(
    plan_of: PlanOf, low_closed: bool, high_closed: bool, is_reversed: bool, kept: list[float]
) -> None:
    options = {
        "min_duration": 2,
        "max_duration": 4,
        "min_closed_interval": low_closed,
        "max_closed_interval": high_closed,
        "reversed_range": is_reversed,
    }
    [range_] = plan_of((DURATION, options)).steps[0].ranges
    assert [value for value in (1, 2, 3, 4, 5) if range_.passes(value)] == kept


@pytest.mark.parametrize(
    ("step", "options", "remedy"),
    [
        pytest.param("video_resize_resolution_mapper", {"max_width": "wide"}, "leave it out", id="an endless default"),
        pytest.param("video_resize_resolution_mapper", {"min_width": "wide"}, "the default, 1", id="a number"),
        pytest.param("general_field_filter", {"filter_condition": "import os"}, "leave it out", id="an empty default"),
    ],
)
def test_what_to_try_instead_of_a_bad_param(plan_of: PlanOf, step: str, options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(RecipeError) as error:
        plan_of((step, options))
    assert error.value.try_ == remedy


@pytest.mark.parametrize(
    ("step", "stat", "low", "high"),
    [
        pytest.param(MOTION, "video_motion_score", 0.25, 1.7976931348623157e308, id=MOTION),
        pytest.param(OCR, "video_ocr_area_ratio", 0.0, 1.0, id=OCR),
        pytest.param(DURATION, "video_duration", 0.0, 2.0**63, id=DURATION),
        pytest.param(ASPECT, "video_aspect_ratios", 9 / 21, 21 / 9, id=ASPECT),
        pytest.param(RESOLUTION, "video_width", 1.0, 2.0**63, id=RESOLUTION),
    ],
)
def test_bounds_left_out_are_data_juicers(plan_of: PlanOf, step: str, stat: str, low: float, high: float) -> None:
    range_ = plan_of(step).steps[0].ranges[0]
    assert (range_.stat, range_.low, range_.high) == (stat, low, high)
    assert (range_.low_closed, range_.high_closed, range_.is_reversed) == (True, True, False)


def test_a_null_bound_is_no_bound_and_not_the_default(plan_of: PlanOf) -> None:
    """The default minimum is 0.25; `min_score: null` keeps still videos, as Data-Juicer's keep test does."""
    [range_] = plan_of((MOTION, {"min_score": None, "max_score": 9})).steps[0].ranges
    assert (range_.low, range_.low_is_set) == (-math.inf, False)
    assert range_.passes(0.0)
    assert str(range_) == "video_motion_score <= 9"


@pytest.mark.parametrize(
    ("options", "value", "passes"),
    [
        pytest.param({"min_ratio": "16:9"}, 1920 / 1080, True, id="16:9 meets a minimum of 16:9"),
        pytest.param({"min_ratio": "16/9"}, 1918 / 1080, False, id="two pixels narrower does not"),
        pytest.param({"max_ratio": "4:3"}, 640 / 480, True, id="4:3 meets a maximum of 4:3"),
        pytest.param({"min_ratio": 1.5}, 1.5, True, id="plain number"),
    ],
)
def test_ratios(plan_of: PlanOf, options: dict[str, Any], value: float, passes: bool) -> None:
    [range_] = plan_of((ASPECT, options)).steps[0].ranges
    assert range_.passes(value) is passes


@pytest.mark.parametrize(
    ("range_", "text"),
    [
        pytest.param(StatRange("x", 2.0, 5.0), "x >= 2 and x <= 5", id="closed"),
        pytest.param(StatRange("x", 2.0, 5.0, low_closed=False), "x > 2 and x <= 5", id="open below"),
        pytest.param(StatRange("x", 2.5, math.inf, high_is_set=False), "x >= 2.5", id="minimum only"),
        pytest.param(StatRange("x", 2.0, 5.0, is_reversed=True), "x <= 2 or x >= 5", id="reversed"),
        pytest.param(StatRange("x", 0.0, 1234567.25), "x >= 0 and x <= 1234567.25", id="no digit lost"),
    ],
)
def test_a_range_in_words(range_: StatRange, text: str) -> None:
    assert str(range_) == text


@pytest.mark.parametrize(
    ("range_", "words"),
    [
        pytest.param(StatRange("x", 2.0, float(sys.maxsize)), "x >= 2", id="no maximum, as an integer"),
        pytest.param(StatRange("x", 2.0, sys.float_info.max), "x >= 2", id="no maximum, as a float"),
        pytest.param(StatRange("x", -float(sys.maxsize), 5.0, high_closed=False), "x < 5", id="no minimum"),
        pytest.param(StatRange("x", 2.0, sys.float_info.max, is_reversed=True), "x <= 2", id="reversed"),
        pytest.param(StatRange("x", -math.inf, math.inf, low_is_set=False, high_is_set=False), "", id="neither"),
        pytest.param(StatRange("x", -math.inf, sys.float_info.max, is_reversed=True), "no x", id="neither, reversed"),
        pytest.param(StatRange("x", 1e19, math.inf), "x >= 1e+19", id="a minimum that large is a limit"),
        pytest.param(StatRange("x", 2.0, 5.0), "x >= 2 and x <= 5", id="both"),
    ],
)
def test_people_are_not_shown_an_end_that_is_no_limit(range_: StatRange, words: str) -> None:
    """Sheets and tables said `x >= 2 and x <= 1.797693135e+308` of a maximum written as Data-Juicer's own default."""
    assert range_.in_words == words


def test_what_a_step_keeps_leaves_out_what_is_no_limit_and_what_is_stored_does_not(plan_of: PlanOf) -> None:
    [step] = plan_of((RESOLUTION, {"min_width": 640, "max_width": sys.maxsize, "max_height": 480})).steps
    assert step.keeps == "video_width >= 640 and video_height <= 480"
    assert "video_width <= 9.223372037e+18" in step.bounds_text, "the text of verdicts that are there already"
    [step] = plan_of((MOTION, {"min_score": None})).steps
    assert step.keeps == "everything"


def test_an_operator_with_two_stats_has_two_ranges(plan_of: PlanOf) -> None:
    [step] = plan_of((RESOLUTION, {"min_width": 640, "max_height": 480})).steps
    assert step.stat_names == ("video_width", "video_height")
    assert step.bounds_text == "video_width >= 640 and video_height <= 480"


# ── Params and measures ─────────────────────────────────────────────────────────────────────────────────────


def measure_id(plan_of: PlanOf, options: dict[str, Any]) -> str:
    return plan_of((MOTION, options)).steps[0].measure_id


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"min_score": 2}, id="a bound"),
        pytest.param({"max_score": None}, id="no bound"),
        pytest.param({"sampling_fps": 2}, id="a default written out"),
        pytest.param({"sampling_fps": 2.0, "any_or_all": "all", "reversed_range": True}, id="verdict options"),
        pytest.param({"video_key": "clips", "num_proc": 3, "accelerator": "cpu"}, id="base options"),
    ],
)
def test_what_moves_no_number_keeps_the_measure(plan_of: PlanOf, options: dict[str, Any]) -> None:
    assert measure_id(plan_of, options) == measure_id(plan_of, {})


@pytest.mark.parametrize("options", [{"sampling_fps": 3}, {"size": 120}, {"relative": True}, {"winsize": 21}], ids=str)
def test_what_moves_the_number_is_another_measure(plan_of: PlanOf, options: dict[str, Any]) -> None:
    assert measure_id(plan_of, options) != measure_id(plan_of, {})


def test_the_device_is_part_of_a_measure_only_where_it_moves_the_number(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("DJ_ASSETS_DEVICE", device)
        motion, ocr = plan_of(MOTION, OCR).steps
        assert (motion.device, ocr.device) == ("cpu", device)
        ids[device] = (motion.measure_id, ocr.measure_id)
    assert ids["cpu"][0] == ids["cuda"][0]
    assert ids["cpu"][1] != ids["cuda"][1]


@pytest.mark.parametrize(
    ("device", "options", "precision", "stored", "shown"),
    [
        ("cpu", {}, "fp32", {"frame_sample_num": 3}, "defaults"),
        ("cpu", {"precision": "fp32"}, "fp32", {"frame_sample_num": 3}, "defaults"),
        ("cpu", {"precision": "bf16"}, "bf16", {"frame_sample_num": 3, "precision": "bf16"}, 'precision="bf16"'),
        ("cuda", {}, "fp16", {"frame_sample_num": 3, "precision": "fp16"}, "defaults"),
        ("cuda", {"precision": None}, "fp16", {"frame_sample_num": 3, "precision": "fp16"}, "defaults"),
        ("cuda", {"precision": "fp32"}, "fp32", {"frame_sample_num": 3}, 'precision="fp32"'),
    ],
    ids=str,
)
def test_a_step_has_the_precision_that_its_device_has_by_default(
    plan_of: PlanOf, device: str, options: dict[str, Any], precision: str, stored: dict[str, Any], shown: str
) -> None:
    """What was stored in fp32 before there was a choice is that measure still, under its id and by its params."""
    [step] = plan_of((OCR, {"accelerator": device, **options})).steps
    assert isinstance(step.params, OcrParams)
    assert step.params.precision == precision
    assert step.params.canonical() == stored
    assert changed_params(step) == shown


def test_an_unknown_precision_is_told_what_there_is(plan_of: PlanOf) -> None:
    [fault] = errors_of(plan_of, (OCR, {"precision": "fp8"}))
    assert "fp32, bf16 or fp16" in fault.allowed


@pytest.mark.parametrize(
    ("accelerator", "machine", "expected"),
    [
        pytest.param("cpu", "cuda", "cpu", id="cpu asked for"),
        pytest.param("cuda", "cpu", "cuda", id="cuda asked for"),
        pytest.param(None, "cuda", "cuda", id="null leaves it to the machine"),
    ],
)
def test_accelerator(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, accelerator: str | None, machine: str, expected: str
) -> None:
    monkeypatch.setenv("DJ_ASSETS_DEVICE", machine)
    assert plan_of((OCR, {"accelerator": accelerator})).steps[0].device == expected


def test_motion_runs_on_a_gpu_only_where_the_recipe_says_so(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's number on the CPU is the reference, so the machine does not choose. On a GPU it is of the GPU's pass."""
    monkeypatch.setenv("DJ_ASSETS_DEVICE", "cuda")
    plan = plan_of(MOTION, (MOTION, {"accelerator": "cuda"}), OCR, DURATION)
    by_machine, by_recipe, ocr, duration = plan.steps
    assert [step.device for step in plan.steps] == ["cpu", "cuda", "cuda", "cpu"]
    assert [step.compute for step in plan.steps] == ["cpu", "gpu", "gpu", "header"]
    assert by_machine.measure_id != by_recipe.measure_id
    assert [(pass_.compute, pass_.steps) for pass_ in plan.passes] == [
        ("header", (duration,)),
        ("cpu", (by_machine,)),
        ("gpu", (by_recipe, ocr)),
    ]
    assert plan.notes == ()


def test_a_gpu_for_an_operator_that_has_no_use_for_it_is_a_note(plan_of: PlanOf) -> None:
    """It was dropped without a word."""
    plan = plan_of((DURATION, {"accelerator": "cuda"}), (ASPECT, {"accelerator": "cpu"}))
    assert [step.device for step in plan.steps] == ["cpu", "cpu"]
    assert plan.notes == (f"{DURATION}.accelerator has no effect here: it runs on the CPU alone",)


def test_a_device_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJ_ASSETS_DEVICE", "tpu")
    with pytest.raises(RecipeError, match="DJ_ASSETS_DEVICE is 'tpu'"):
        gpu_device()


def test_hidden_gpus_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJ_ASSETS_DEVICE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_device() == "cpu"


def test_a_threshold_moves_the_bounds_id_and_nothing_else(plan_of: PlanOf) -> None:
    two, three = plan_of((MOTION, {"min_score": 2})), plan_of((MOTION, {"min_score": 3}))
    assert two.bounds_id != three.bounds_id
    assert two.steps[0].measure_id == three.steps[0].measure_id
    assert two.bounds_id == plan_of((MOTION, {"min_score": 2.0})).bounds_id


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"any_or_all": "all"}, id="any_or_all"),
        pytest.param({"min_closed_interval": False}, id="interval"),
        pytest.param({"reversed_range": True}, id="reversed"),
        pytest.param({"sampling_fps": 3}, id="measure"),
    ],
)
def test_everything_that_moves_a_verdict_moves_the_bounds_id(plan_of: PlanOf, change: dict[str, Any]) -> None:
    assert plan_of((MOTION, {"min_score": 2, **change})).bounds_id != plan_of((MOTION, {"min_score": 2})).bounds_id


# ── Steps and passes ────────────────────────────────────────────────────────────────────────────────────────


def test_passes_run_headers_first_and_models_last_in_whatever_order_steps_stand(plan_of: PlanOf) -> None:
    plan = plan_of(OCR, MOTION, ASPECT, DURATION)
    assert [step.key for step in plan.steps] == [OCR, MOTION, ASPECT, DURATION]
    assert [(pass_.compute, [step.key for step in pass_.steps]) for pass_ in plan.passes] == [
        ("header", [ASPECT, DURATION]),
        ("cpu", [MOTION]),
        ("gpu", [OCR]),
    ]


def test_an_operator_listed_twice_has_two_keys_and_two_stats(plan_of: PlanOf) -> None:
    """In Data-Juicer the second one silently reuses the first one's number, whatever its parameters."""
    first, second, third = plan_of((MOTION, {"sampling_fps": 1}), DURATION, (MOTION, {"sampling_fps": 4})).steps
    assert (first.key, second.key, third.key) == (MOTION, DURATION, f"{MOTION}_2")
    assert (first.stat_names, third.stat_names) == (("video_motion_score",), ("video_motion_score_2",))
    assert first.measure_id != third.measure_id


def test_a_recipe_without_steps_is_a_plan_without_passes(plan_of: PlanOf) -> None:
    plan = plan_of()
    assert (plan.steps, plan.passes) == ((), ())
    assert plan.video_keys == ("videos",)


def test_the_tutorials_recipes_make_plans() -> None:
    space = make_plan(load_recipe(REPOSITORY / "recipes" / "video_space.yaml"))
    time = make_plan(load_recipe(REPOSITORY / "recipes" / "video_time.yaml"))
    assert [step.bounds_text for step in space.steps] == ["video_ocr_area_ratio <= 0.2"]
    assert [step.bounds_text for step in time.steps] == ["video_motion_score >= 2"]
    assert (space.notes, space.warnings, time.notes, time.warnings) == ((), (), (), ())


# ── Base options ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, "any", id="default"),
        pytest.param({"any_or_all": "all"}, "all", id="all"),
        pytest.param({"any_or_all": None}, "any", id="null is the default"),
    ],
)
def test_any_or_all(plan_of: PlanOf, options: dict[str, Any], expected: str) -> None:
    assert plan_of((DURATION, options)).steps[0].any_or_all == expected


def test_video_key_of_a_step_comes_before_the_recipes(plan_of: PlanOf) -> None:
    plan = plan_of((DURATION, {"video_key": "clips"}), (ASPECT, {"video_key": None}), RESOLUTION, video_key="films")
    assert [step.video_key for step in plan.steps] == ["clips", "films", "films"]
    assert plan.video_keys == ("films", "clips")


@pytest.mark.parametrize("option", sorted(BASE_OPTIONS_WITHOUT_EFFECT))
@pytest.mark.parametrize("name", [MOTION, DURATION])
def test_a_base_option_without_effect_is_accepted_with_one_line(plan_of: PlanOf, name: str, option: str) -> None:
    [note] = plan_of((name, {option: 3})).notes
    assert note == f"{name}.{option} has no effect here: {BASE_OPTIONS_WITHOUT_EFFECT[option]}"
    assert plan_of((name, {option: None})).notes == ()


@pytest.mark.parametrize("name", [name for name in operators.names() if operators.get(name).kind == "filter"])
def test_every_option_that_an_operator_ignores_says_why(plan_of: PlanOf, name: str) -> None:
    for option, reason in operators.get(name).ignored.items():
        assert plan_of((name, {option: "x"})).notes == (f"{name}.{option} has no effect here: {reason}",)


def test_an_ignored_option_at_upstreams_default_is_not_worth_a_word(plan_of: PlanOf) -> None:
    assert (
        plan_of((OCR, {"languages_to_detect": ["ch_sim", "en"]}), (DURATION, {"video_backend": "ffmpeg"})).notes == ()
    )
    assert len(plan_of((OCR, {"languages_to_detect": ["fr"]}), (DURATION, {"video_backend": "av"})).notes) == 2


def test_a_refused_option_may_stand_at_upstreams_default(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """People write defaults out. What is refused is another value."""
    monkeypatch.setattr(_upstream, "options", lambda: {MOTION: {"frame_field": "path"}})
    assert plan_of((MOTION, {"frame_field": "path"})).notes == ()
    [error] = errors_of(plan_of, (MOTION, {"frame_field": "bytes"}))
    assert error.allowed == 'null, or "path" as upstream has it'


def test_notes_of_the_recipe_come_first_and_each_once(plan_of: PlanOf) -> None:
    notes = plan_of((DURATION, {"turbo": True}), (DURATION, {"turbo": True}), turbo=True).notes
    assert [note.split(" has ")[0] for note in notes] == ["turbo", f"{DURATION}.turbo"]


def test_a_resize_warns_that_numbers_differ_from_data_juicers(plan_of: PlanOf) -> None:
    [warning] = plan_of((MOTION, {"size": 120})).warnings
    assert warning.startswith(f"{MOTION}: ")
    assert "data_juicer_resize" in warning
    assert plan_of(MOTION).warnings == ()


# ── Refused before any decoding ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("step", "option", "given", "try_"),
    [
        pytest.param((MOTION, {"min_scor": 2}), "min_scor", "not known", "min_score", id="misspelt bound"),
        pytest.param((MOTION, {"samplingfps": 2}), "samplingfps", "not known", "sampling_fps", id="misspelt param"),
        pytest.param((MOTION, {"anyorall": "any"}), "anyorall", "not known", "any_or_all", id="misspelt base option"),
        pytest.param((DURATION, {"zzz": 1}), "zzz", "not known", "remove it", id="nothing near"),
        pytest.param((MOTION, {"min_score": "high"}), "min_score", '"high"', "0.25", id="bound as a word"),
        pytest.param((MOTION, {"min_score": True}), "min_score", "true", "0.25", id="bound as true"),
        pytest.param((MOTION, {"min_score": [1]}), "min_score", "[1]", "0.25", id="bound as a list"),
        pytest.param((MOTION, {"min_score": float("nan")}), "min_score", "NaN", "0.25", id="bound as not-a-number"),
        pytest.param((ASPECT, {"min_ratio": "9/0"}), "min_ratio", "9/0", "0.428571", id="ratio over zero"),
        pytest.param((ASPECT, {"min_ratio": "wide"}), "min_ratio", "wide", "0.428571", id="ratio as a word"),
        pytest.param((MOTION, {"sampling_fps": 0}), "sampling_fps", "0", "2.0", id="param out of range"),
        pytest.param((MOTION, {"sampling_fps": "fast"}), "sampling_fps", "fast", "2.0", id="param as a word"),
        pytest.param((MOTION, {"sampling_fps": float("inf")}), "sampling_fps", "finite", "2.0", id="endless param"),
        pytest.param((MOTION, {"levels": True}), "levels", "true", "3", id="true is not 1"),
        pytest.param((MOTION, {"size": True}), "size", "true", "leave", id="true is not a size"),
        pytest.param((OCR, {"frame_sample_num": 2.5}), "frame_sample_num", "2.5", "3", id="half a frame"),
        pytest.param((MOTION, {"reversed_range": 1}), "reversed_range", "1", "false", id="1 is not true"),
        pytest.param((MOTION, {"any_or_all": "some"}), "any_or_all", '"some"', "any", id="any_or_all"),
        pytest.param((MOTION, {"video_key": ""}), "video_key", '""', "videos", id="empty video_key"),
        pytest.param((MOTION, {"accelerator": "tpu"}), "accelerator", "tpu", "leave", id="accelerator"),
        pytest.param((MOTION, {"frame_field": "frames"}), "frame_field", '"frames"', "videos", id="refused option"),
    ],
)
def test_faults_of_options(
    plan_of: PlanOf, step: tuple[str, dict[str, Any]], option: str, given: str, try_: str
) -> None:
    [error] = errors_of(plan_of, step)
    assert isinstance(error, BadOption)
    assert (error.file, error.line) == ("small.yaml", 1)
    assert (error.step, error.option) == (f"1 {step[0]}", option)
    assert given in error.given
    assert try_ in error.try_


@pytest.mark.parametrize(
    ("options", "words", "try_"),
    [
        pytest.param(
            {"min_duration": 9, "max_duration": 2}, "9 is above 2, so no video can pass", "swap", id="swapped"
        ),
        pytest.param({"max_duration": -1}, "0 is above -1", "set min_duration", id="below the default minimum"),
        pytest.param({"min_duration": None, "max_duration": -1}, "below 0", "swap", id="below every value"),
        pytest.param(
            {"min_duration": 2, "max_duration": 2, "max_closed_interval": False}, "an end is open", "swap", id="empty"
        ),
        pytest.param(
            {"min_duration": 9, "max_duration": 2, "reversed_range": True}, "every video passes", "swap", id="reversed"
        ),
    ],
)
def test_bounds_that_decide_nothing(plan_of: PlanOf, options: dict[str, Any], words: str, try_: str) -> None:
    [error] = errors_of(plan_of, (DURATION, options))
    assert isinstance(error, BadOption)
    assert words in error.given
    assert try_ in error.try_


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"min_duration": 2, "max_duration": 2}, id="one value"),
        pytest.param({"min_duration": "2", "max_duration": "1e3"}, id="quoted numbers"),
        pytest.param({"max_duration": float("inf")}, id="infinity"),
        pytest.param({"max_duration": 0}, id="at the lowest value"),
    ],
)
def test_bounds_that_are_odd_but_possible(plan_of: PlanOf, options: dict[str, Any]) -> None:
    assert len(plan_of((DURATION, options)).steps) == 1


def test_an_unknown_operator_is_answered_with_the_nearest_spelling(plan_of: PlanOf) -> None:
    [error] = errors_of(plan_of, DURATION, "video_motion_scores_filter")
    assert isinstance(error, UnknownOperator)
    assert (error.file, error.line, error.step) == ("small.yaml", 1, "2")
    assert MOTION in error.try_
    assert OCR in error.allowed


def test_one_reading_finds_the_faults_of_all_steps_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "dataset_path: ds.jsonl\n"
        "process:\n"
        f"  - {MOTION}:\n"
        "      min_score: x\n"
        "      levels: 0\n"
        "  - video_nothing_filter:\n"
        f"  - {DURATION}:\n"
        "      min_duratoin: 3\n"
    )
    with pytest.raises(RecipeErrors) as caught:
        make_plan(load_recipe(path))
    assert sorted((error.line, error.option) for error in caught.value.errors if error.option) == [
        (4, "min_score"),
        (5, "levels"),
        (8, "min_duratoin"),
    ]
    assert f"{path}:8 step 3 {DURATION} option min_duratoin" in str(caught.value)
    assert f"{path}:6 step 2" in str(caught.value)


def test_a_fault_of_the_command_line_says_so(plan_of: PlanOf) -> None:
    overrides = (f"--{MOTION}.min_score", "high", "--video_motoin_score_filter.min_score", "3")
    option, operator = errors_of(plan_of, (MOTION, {"sampling_fps": 1}), overrides=overrides)
    assert option.where() == f"command line step 1 {MOTION} option min_score"
    assert operator.where() == "command line step 2"


# ── Operators of other packages ─────────────────────────────────────────────────────────────────────────────

REQUIRED = """\
from pydantic import Field

from dj_assets.operators._contract import Bound, Operator, Params, Stat


class NeedyParams(Params):
    weight: float = Field(description="a number, there is no default")


OPERATOR = Operator(
    name="video_needy_filter", version=1, summary="nothing (no unit)", compute="header", params=NeedyParams,
    stats=(Stat("video_needy", unit="ratio", low=0, high=1),), bounds=(Bound("min_needy", "video_needy", "min", 0.0),),
    read=lambda info, params: (params.weight,), any_or_all_default="all",
)
"""


def test_an_outside_operator_is_planned_like_ours(plan_of: PlanOf, operator_package: Path) -> None:
    (operator_package / "video_needy_filter.py").write_text(REQUIRED)
    [step] = plan_of(("video_needy_filter", {"weight": 2, "min_needy": 0.5})).steps
    assert step.bounds_text == "video_needy >= 0.5"
    assert step.any_or_all == "all"


def test_a_required_option_left_out_is_a_fault(plan_of: PlanOf, operator_package: Path) -> None:
    (operator_package / "video_needy_filter.py").write_text(REQUIRED)
    [error] = errors_of(plan_of, "video_needy_filter")
    assert (error.option, error.given, error.try_) == ("weight", "weight is missing", "set it; it has no default")
    assert "there is no default" in error.allowed


def test_a_bound_above_every_value_is_a_fault(plan_of: PlanOf, operator_package: Path) -> None:
    (operator_package / "video_needy_filter.py").write_text(REQUIRED)
    [error] = errors_of(plan_of, ("video_needy_filter", {"weight": 2, "min_needy": 1.5}))
    assert "1.5 is above 1, which no value passes" in error.given


# --- stages


CUT = "scratch_cut_mapper"


def staged(operator_package: Path, *process: dict[str, Any], **recipe: Any) -> Plan:
    (operator_package / f"{CUT}.py").write_text(OPERATOR_FILE)
    sources = tuple(StepSource(n, *next(iter(step.items())), line=10 + n) for n, step in enumerate(process, start=1))
    made = Recipe(
        name="r",
        file="recipes/r.yaml",
        sha256="0" * 64,
        dataset_path=Path("/data/ds.jsonl"),
        export_path=Path("/out/res.jsonl"),
        steps=sources,
        settings=Settings(),
    )
    return make_plan(replace(made, **recipe))


def shape(plan: Plan) -> list[tuple[str, list[str], str]]:
    return [
        (stage.recipe.name, [step.key for step in stage.steps], stage.made_by.key if stage.made_by else "")
        for stage in plan.stages
    ]


SHAPES: dict[str, tuple[list[str], list[tuple[str, list[str], str]]]] = {
    "no mapper": ([DURATION], [("r", [DURATION], "")]),
    "in the middle": (
        [DURATION, CUT, DURATION],
        [("r__1", [DURATION], ""), ("r", [f"{DURATION}_2"], CUT)],
    ),
    "first": ([CUT, DURATION], [("r__1", [], ""), ("r", [DURATION], CUT)]),
    "last": ([DURATION, CUT], [("r__1", [DURATION], ""), ("r", [], CUT)]),
    "two in a row": ([CUT, CUT], [("r__1", [], ""), ("r__2", [], CUT), ("r", [], f"{CUT}_2")]),
}


@pytest.mark.parametrize(("operators", "expected"), SHAPES.values(), ids=SHAPES)
def test_mappers_cut_a_recipe_into_stages(
    operator_package: Path, operators: list[str], expected: list[tuple[str, list[str], str]]
) -> None:
    assert shape(staged(operator_package, *({name: {}} for name in operators))) == expected


def test_stages_share_everything_but_their_steps_and_files(operator_package: Path) -> None:
    plan = staged(operator_package, {DURATION: {}}, {CUT: {}}, {DURATION: {"video_key": "previews"}})
    first, last = plan.stages
    assert (first.recipe.family, last.recipe.family) == ("r", "r")
    assert (first.recipe.export_path, last.recipe.export_path) == (
        Path("/out/res_stage1.jsonl"),
        Path("/out/res.jsonl"),
    )
    assert first.video_keys == last.video_keys == ("videos", "previews"), "samples are read once, in the first"
    assert [step.number for step in plan.all_steps] == [1, 2, 3], "as the recipe's file counts them"
    names = [name for stage in plan.stages for step in stage.steps for name in step.stat_names]
    assert names == ["video_duration", "video_duration_2"], "numbers of two stages never share a name"


def test_options_of_a_mapper_are_read(operator_package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = staged(operator_package, {CUT: {}}).made_by
    assert defaults is not None
    assert (defaults.keeps_original, defaults.clip_per_sample, defaults.folder) == (True, False, None)
    assert defaults.folder_beside("/data/a.mp4") == Path("/data/__dj__produced_data__/scratch_cut_mapper")
    chosen = staged(
        operator_package,
        {CUT: {"pieces": 3, "keep_original_sample": False, "clip_per_sample": True, "parts_dir": "clips"}},
    ).made_by
    assert chosen is not None
    assert (chosen.keeps_original, chosen.clip_per_sample, chosen.folder) == (False, True, tmp_path / "clips")
    assert chosen.measure_id != defaults.measure_id
    where = staged(operator_package, {CUT: {"save_dir": "/else", "keep_original_sample": False}}).made_by
    assert where is not None and where.measure_id == defaults.measure_id, "where a file goes is not what it is"
    monkeypatch.setenv("DJ_PRODUCED_DATA_DIR", "/produced")
    everywhere = staged(operator_package, {CUT: {}})
    assert everywhere.made_by is not None and everywhere.made_by.folder == Path("/produced/scratch_cut_mapper")
    assert everywhere.roots == [Path("/data"), Path("/produced/scratch_cut_mapper")]
    assert staged(operator_package, {CUT: {"save_dir": "/else"}}).roots == [Path("/data"), Path("/else")]


def test_faults_of_every_stage_are_told_at_once(operator_package: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeErrors) as caught:
        staged(
            operator_package,
            {DURATION: {"min_duration": "x"}},
            {CUT: {"pieces": 0, "min_score": 1, "save_dir": str(tmp_path / "new")}},
            {DURATION: {"nonsense": 1}},
            dataset_path=tmp_path,
        )
    told = str(caught.value)
    assert [error.step for error in caught.value.errors] == [f"1 {DURATION}", *[f"2 {CUT}"] * 3, f"3 {DURATION}"]
    assert "pieces" in told and "min_score" in told and "would be new samples" in told
