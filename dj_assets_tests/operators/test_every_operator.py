"""What holds for every operator, whoever wrote it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from dj_assets import operators
from dj_assets.errors import MediaError, UnknownOperator
from dj_assets.frames import Size, VideoInfo, Windows
from dj_assets.operators._contract import Bound, Device, NoParams, Operator, Params, Scores, Stat, View, flag
from dj_assets.operators._whole import Whole
from dj_assets.video_run import measure_task
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure, spec, task

NAMES = [name for name in operators.names() if isinstance(operators.get(name), Operator)]
WHOLE = [name for name in operators.names() if isinstance(operators.get(name), Whole)]
ON_FRAMES = [name for name in NAMES if operators.get(name).plan is not None]
ON_RECORDS = [name for name in NAMES if operators.get(name).compute == "record"]
LIGHT = [name for name in NAMES if operators.get(name).compute in ("header", "cpu")]


SMALL = Size(36, 64)


def video_info(
    num_frames: int, *, fps: float = 24.0, size: Size = SMALL, seconds: list[float] | None = None
) -> VideoInfo:
    times = np.array(seconds) if seconds is not None else np.arange(num_frames) / fps
    return VideoInfo(size, fps, max(num_frames / fps, 0.01), times, np.arange(min(1, num_frames)))


@pytest.mark.parametrize("name", NAMES)
def test_is_a_full_declaration(name: str) -> None:
    operator = operators.get(name)
    assert operator.name == name
    assert operator.summary and operator.version >= 1
    assert operator.stats and all(stat.unit for stat in operator.stats)
    has_bounds = {bound.stat for bound in operator.bounds}
    assert all(stat.is_flag or stat.name in has_bounds for stat in operator.stats)
    assert all(bound.help for bound in operator.bounds)
    assert len(set(operator.option_names)) == len(operator.option_names)


@pytest.mark.parametrize("name", WHOLE)
def test_is_a_full_declaration_over_the_whole_dataset(name: str) -> None:
    whole = operators.get(name)
    assert isinstance(whole, Whole) and whole.name == name
    assert whole.summary and whole.version >= 1
    assert whole.keeps(whole.params())
    assert len(set(whole.option_names)) == len(whole.option_names)
    assert whole.params(**json.loads(whole.params().model_dump_json())) == whole.params()
    assert operators.measure(name) == whole.operator or whole.measure is None
    assert whole.choose([], whole.params(), {}).dropped == {}, "of nobody, nobody goes"


@pytest.mark.parametrize("name", [*NAMES, *WHOLE])
def test_has_a_test_file_of_its_name(name: str) -> None:
    assert (Path(__file__).parent / f"test_{name}.py").exists()


@pytest.mark.parametrize("name", NAMES)
def test_params_survive_json_and_spelling_out_defaults_is_the_same_measure(name: str) -> None:
    operator = operators.get(name)
    params = operator.params()
    again = operator.params.model_validate_json(params.model_dump_json())
    assert again == params
    spelled_out = operator.params(**json.loads(params.model_dump_json()))
    assert operator.measure_id(spelled_out, "cpu") == operator.measure_id(params, "cpu")


@pytest.mark.parametrize("name", ON_RECORDS)
@pytest.mark.parametrize(
    "record",
    [{}, {"text": None}, {"text": "a <__dj__video>"}, {"text": [], "__dj__stats__": 3, "__dj__suffix__": 1}],
    ids=str,
)
def test_judges_give_a_number_per_stat_or_no_value_and_leave_the_record_alone(name: str, record: dict) -> None:
    operator = operators.get(name)
    before = copy.deepcopy(record)
    try:
        values = operator.judge(record, operator.params())  # type: ignore[misc]
    except MediaError as error:
        assert error.status == "no_value" and error.given and error.allowed and error.try_
    else:
        assert len(values) == len(operator.stats)
        assert all(stat.low <= value <= stat.high for stat, value in zip(operator.stats, values, strict=True))
    assert record == before


@pytest.mark.parametrize("name", ON_FRAMES)
@pytest.mark.parametrize(
    ("case", "info"),
    [
        ("no frames", video_info(0)),
        ("one frame", video_info(1)),
        ("two frames", video_info(2)),
        ("one pixel", video_info(5, size=Size(1, 1))),
        ("one a second", video_info(9, fps=1.0)),
        ("variable rate", video_info(4, seconds=[0.0, 0.01, 7.0, 7.5])),
        ("long", video_info(100_000)),
    ],
)
def test_plans_are_valid_or_too_short(name: str, case: str, info: VideoInfo) -> None:
    operator = operators.get(name)
    try:
        plan = operator.plan(info, operator.params())  # type: ignore[misc]
    except MediaError as error:
        assert error.status == "too_short"
        assert info.num_frames_from_scan < 2
        return
    assert len(plan.windows) >= 1
    assert plan.frames.max() < info.num_frames_from_scan


@pytest.mark.parametrize("name", [name for name in ON_FRAMES if name in LIGHT])
def test_scores_are_one_per_window_and_stat_finite_and_leave_the_pictures_alone(name: str) -> None:
    operator = operators.get(name)
    plan = operator.plan(video_info(10), operator.params())  # type: ignore[misc]
    shape = (len(plan.windows), plan.windows.shape[1], 36, 64, *([] if plan.look.pixel_format == "gray8" else [3]))
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    before = data.copy()
    windows = Windows(data, plan.windows, plan.windows / 24, plan.look)
    model = operator.load(operator.params(), "cpu")
    scores = operator.score(windows, operator.params(), model)  # type: ignore[misc]
    stats = (len(operator.stats),) if len(operator.stats) > 1 else ()
    assert scores.values.shape == (len(plan.windows), *stats) and np.isfinite(scores.values).all()
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("name", [name for name in ON_FRAMES if operators.get(name).draw is not None])
@pytest.mark.parametrize("shown", [Size(36, 64), Size(1, 1), Size(5, 200)])
def test_what_is_drawn_is_one_set_of_pictures_per_view_and_leaves_the_frames_alone(name: str, shown: Size) -> None:
    operator = operators.get(name)
    plan = operator.plan(video_info(10), operator.params())  # type: ignore[misc]
    grey = plan.look.pixel_format == "gray8"
    rng = np.random.default_rng(0)
    views = [
        View(
            rng.integers(0, 256, (len(window), *shown, 3), dtype=np.uint8),
            rng.integers(0, 256, (len(window), 36, 64, *([] if grey else [3])), dtype=np.uint8),
            tuple(window / 24),
        )
        for window in plan.windows
    ]
    for view in views:
        view.pictures.setflags(write=False)
        view.seen.setflags(write=False)
    drawn = operator.draw(iter(views), operator.params())  # type: ignore[misc]
    assert len(drawn) == len(views)
    for panels in drawn:
        assert len(panels) >= max(1, operator.preview_panels)
        for panel in panels:
            assert panel.picture.dtype == np.uint8 and panel.picture.shape == (*shown, 3)


def test_together_they_give_the_numbers_that_each_gives_alone(moving_2px: Path) -> None:
    specs = [spec(name) for name in LIGHT]
    together = measure_task(task(moving_2px, *specs)).measured
    alone = [measure(moving_2px, name) for name in LIGHT]
    assert [m.values for m in together] == [m.values for m in alone]
    assert [m.window_values for m in together] == [m.window_values for m in alone]


@pytest.mark.parametrize("name", [name for name in ON_FRAMES if name in LIGHT])
def test_the_same_pictures_score_the_same_in_every_container(moving_2px: Path, tmp_path: Path, name: str) -> None:
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=24, pixels_per_frame=2)
    webm = videos.write_video(tmp_path / "vp9.webm", frames, codec="libvpx-vp9", lossless=True)
    paths = [moving_2px, webm, *(videos.remux(moving_2px, tmp_path / f"a{suffix}") for suffix in (".mkv", ".ts"))]
    values = {path.suffix: measure(path, name).values[0] for path in paths}
    assert values == pytest.approx(dict.fromkeys(values, values[".mp4"]), rel=1e-9)


def test_an_unknown_name_is_answered_with_the_nearest_spelling() -> None:
    with pytest.raises(UnknownOperator, match="video_motion_score_filter"):
        operators.get("video_motoin_score_filter")


def test_a_file_in_an_outside_package_is_an_operator(operator_package: Path) -> None:
    (operator_package / "video_odd_filter.py").write_text(
        "from dj_assets.operators.video_duration_filter import OPERATOR as base\n"
        "from dataclasses import replace\n"
        "OPERATOR = replace(base, name='video_odd_filter')\n"
    )
    assert "video_odd_filter" in operators.names()
    assert operators.get("video_odd_filter").compute == "header"


def test_a_file_whose_declaration_has_another_name_is_told(operator_package: Path) -> None:
    (operator_package / "video_other_filter.py").write_text(
        "from dj_assets.operators.video_duration_filter import OPERATOR\n"
    )
    with pytest.raises(TypeError, match="video_duration_filter"):
        operators.get("video_other_filter")


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("neither read nor plan", {"read": None}),
        ("bound on a stat it has not", {"bounds": (Bound("min_x", "x", "min", 0.0),)}),
        ("header that scores", {"compute": "cpu"}),
        ("header on a GPU", {"also_on": ("cuda",)}),
        ("two ways of looking", {"judge": lambda record, params: (1.0,)}),
        ("record that reads packets", {"compute": "record"}),
        ("a bound on yes or no", {"stats": (flag("video_x"),), "bounds": (Bound("min_x", "video_x", "min", 0.0),)}),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(fault: str, change: dict) -> None:
    whole = {
        "name": "video_x_filter",
        "version": 1,
        "summary": "x",
        "compute": "header",
        "params": NoParams,
        "stats": (Stat("video_x", unit="x"),),
        "bounds": (),
        "read": lambda info, params: (1.0,),
    }
    Operator(**whole)
    with pytest.raises(TypeError):
        Operator(**{**whole, **change})


def test_the_measure_id_follows_what_moves_the_number_and_nothing_else() -> None:
    motion = operators.get("video_motion_score_filter")
    ocr = operators.get("video_ocr_area_ratio_filter")
    base = motion.measure_id(motion.params(), "cpu")
    assert motion.measure_id(motion.params(sampling_fps=2), "cpu") == base
    assert motion.measure_id(motion.params(sampling_fps=4), "cpu") != base
    assert motion.measure_id(motion.params(), "cuda") != base
    duration = operators.get("video_duration_filter")
    assert duration.measure_id(duration.params(), "cuda") == duration.measure_id(duration.params(), "cpu")
    assert ocr.measure_id(ocr.params(), "cuda") != ocr.measure_id(ocr.params(), "cpu")


class GrownParams(Params):
    """An operator's params after `depth`, and then `detail`, were added to it."""

    size: int = 3
    depth: int | None = None
    detail: float = 0.5

    added: ClassVar[Mapping[str, Any]] = {"depth": 1, "detail": 0.5}

    def on(self, device: Device) -> GrownParams:
        return self if self.depth is not None else self.model_copy(update={"depth": 8 if device == "cuda" else 1})


@pytest.mark.parametrize(
    ("given", "device", "canonical"),
    [
        ({}, "cpu", {"size": 3}),
        ({"depth": 1, "detail": 0.5}, "cpu", {"size": 3}),
        ({}, "cuda", {"size": 3, "depth": 8}),
        ({"depth": 1}, "cuda", {"size": 3}),
        ({"size": 4, "detail": 0.25}, "cpu", {"size": 4, "detail": 0.25}),
    ],
    ids=str,
)
def test_options_that_were_added_move_no_measure_at_the_value_of_before(
    given: dict[str, Any], device: Device, canonical: dict[str, Any]
) -> None:
    params = GrownParams(**given)
    assert params.on(device).canonical() == canonical
    assert params.on(device).on("cpu") == params.on(device), "filled in once"
    operator = replace(operators.get("video_duration_filter"), params=GrownParams, device_moves_number=True)
    assert operator.measure_id(params, device) == operator.measure_id(params.on(device), device)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_filled_in_params_survive_the_way_to_a_worker(name: str, device: Device) -> None:
    operator = operators.get(name)
    params = operator.params().on(device)
    assert operator.params.model_validate_json(params.model_dump_json()) == params == params.on(device)
    assert set(operator.params.added) <= set(operator.params.model_fields)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("video_aspect_ratio_filter", {}, "38bb4a9639e6456a"),
        ("video_duration_filter", {}, "100dbefa29b21964"),
        ("video_motion_score_filter", {}, "58e02d15a24fff45"),
        ("video_motion_score_filter", {"sampling_fps": 4, "size": 120, "relative": True}, "a8f968eb071ccbea"),
        ("video_motion_score_filter", {"flags": 256, "poly_n": 7}, "fef69bcd9247c828"),
        ("video_ocr_area_ratio_filter", {}, "02f7a758045ad702"),
        ("video_resolution_filter", {}, "acf013b91a770d2e"),
    ],
)
def test_ids_under_which_stores_hold_numbers_stay(name: str, params: dict, expected: str) -> None:
    """Written down before operators could be put on another device. Another id would measure everything anew."""
    operator = operators.get(name)
    assert operator.measure_id(operator.params(**params), "cpu") == expected


def test_scores_is_values_and_details() -> None:
    assert Scores(np.zeros(2)).details == ()
