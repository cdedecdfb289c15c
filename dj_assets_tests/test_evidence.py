"""Pictures that explain a number, drawn from the stored row."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets import evidence, workers
from dj_assets.decide import decide
from dj_assets.errors import MediaError, Status
from dj_assets.evidence import canvas, worker
from dj_assets.evidence.canvas import Line
from dj_assets.evidence.worker import Shown, draw_preview, draw_sheet, draw_thumbnail
from dj_assets.frames import Size
from dj_assets.measure import identify
from dj_assets.plan import Plan, Step, make_plan
from dj_assets.ranges import StatRange
from dj_assets.recipe import Limits, Recipe, Settings, StepSource
from dj_assets.samples import Sample, Video
from dj_assets.store.files import temporary_beside
from dj_assets.store.rows import Fact, Outcome, Row, Verdict
from dj_assets.video_run import measure_task
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import measure, spec, task
from dj_assets_tests.plans import a_plan, a_sample, a_step, a_table

MOTION, OCR, DURATION = "video_motion_score_filter", "video_ocr_area_ratio_filter", "video_duration_filter"


@pytest.fixture(scope="module", autouse=True)
def _workers_end() -> Iterator[None]:
    yield
    workers.close_pools()


def decoded(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column of what is True."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max(), columns.min(), columns.max()


def is_red(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 200) & (picture[..., 1] < 60) & (picture[..., 2] < 60)


# --- one sheet


def test_stored_boxes_are_drawn_where_they_are(still: Path) -> None:
    detail = json.dumps({"rectangles": [[16, 24, 112, 72]], "quadrilaterals": []})
    shown = Shown("t", 0.375, (0.375,), (detail,))
    with_box = decoded(draw_sheet(task(still, spec(OCR, frame_sample_num=1)), shown))
    without = decoded(
        draw_sheet(
            task(still, spec(OCR, frame_sample_num=1)),
            replace(shown, window_details=('{"rectangles":[],"quadrilaterals":[]}',)),
        )
    )
    assert with_box.shape == without.shape
    # The frame of 96x128 is shown at 360x480: all that differs in it is the box, and its place is that times 3.75.
    first_row, last_row, first_column, last_column = extent(is_red(with_box))
    scale = 480 / 128
    assert last_row - first_row == pytest.approx((72 - 24) * scale, abs=4)
    assert last_column - first_column == pytest.approx((112 - 16) * scale, abs=4)
    left = canvas.GAP
    assert first_column - left == pytest.approx(16 * scale, abs=4)
    bottom = with_box.shape[0] - canvas.GAP - canvas.line_height(13) - 4  # the margin, and the line below the frame
    assert bottom - last_row == pytest.approx((96 - 72) * scale, abs=5)
    assert not is_red(without).any()


def test_every_sampled_frame_has_its_own_boxes_and_ratio(numbered_24: Path) -> None:
    boxes = [json.dumps({"rectangles": [[8, 8, 8 + 12 * k, 40]], "quadrilaterals": []}) for k in (1, 2, 3)]
    picture = decoded(draw_sheet(task(numbered_24, spec(OCR)), Shown("t", 0.2, (0.1, 0.2, 0.3), tuple(boxes))))
    tile = worker.TILE.width + canvas.GAP
    widths = []
    for column in range(3):
        _, _, first, last = extent(is_red(picture[:, canvas.GAP + column * tile :][:, : worker.TILE.width]))
        widths.append(last - first)
    scale = 360 / 64
    assert widths == pytest.approx([12 * scale, 24 * scale, 36 * scale], abs=4)


def test_a_turned_video_is_drawn_as_its_operator_saw_it(tmp_path: Path) -> None:
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=8, pixels_per_frame=2)
    path = videos.write_video(tmp_path / "turned.mp4", frames, rotation_degrees=90)
    opened = worker._Opened(task(path, spec(MOTION)))
    shape = opened.shape(opened.plan(Shown("")))
    assert shape == Size(128, 96), "motion is scored on what players show"
    assert worker._Opened(task(path, spec(OCR))).shape(opened.operator.plan(opened.info, opened.params)) == shape
    views = list(opened._views(opened.plan(Shown("")), [0], (), Size(64, 64), linear=False))
    assert views[0].seen.shape == (2, 128, 96) and views[0].pictures.shape == (2, 64, 48, 3)


def test_a_row_of_other_windows_is_refused_rather_than_drawn_wrongly(moving_2px: Path) -> None:
    with pytest.raises(MediaError, match="2 windows, the stored number 5"):
        draw_sheet(task(moving_2px, spec(MOTION)), Shown("t", 2.0, (2.0,) * 5))


def test_a_header_operator_has_its_line_and_a_frame(moving_2px: Path) -> None:
    picture = decoded(draw_sheet(task(moving_2px, spec(DURATION)), Shown("video_duration = 1", 1.0, (1.0,))))
    assert picture.shape[1] == 3 * worker.TILE.width + 2 * canvas.GAP + 2 * canvas.GAP
    assert picture[200:, :400].std() > 20, "the texture"


def test_of_several_stats_the_one_that_is_shown_is_looked_for_in_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for another stat's, its window values would not be those that are scored, and frames be counted anew."""
    monkeypatch.setattr(worker._Opened, "_count_frames", lambda opened: pytest.fail("the score was as stored"))
    frames = [np.full((64, 96, 3), level, dtype=np.uint8) for level in (0, 0, 0, 255)]
    path = videos.write_video(tmp_path / "a.mp4", frames, lossless=True)
    [measured] = measure_task(task(path, spec("video_exposure_filter"))).measured
    for place, value in enumerate(measured.values):
        shown = Shown("exposure", value, measured.of_stat(place), unit="ratio", stat=place)
        assert decoded(draw_sheet(task(path, spec("video_exposure_filter")), shown)).size


def test_only_frames_that_are_shown_are_turned_into_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 frames with a key frame each 10: of 3 that are wanted, only what lies behind their key frames is decoded."""
    from dj_assets.video import decode

    frames = [np.full((64, 64, 3), 4 * k, dtype=np.uint8) for k in range(60)]
    path = videos.write_video(tmp_path / "a.mp4", frames, lossless=True, options={"g": "10", "keyint_min": "10"})
    pictured, came = [], []
    real_converted, real_indexed = decode.PictureReader.converted, decode._indexed

    def converted(reader: Any, frame: Any, *rest: Any) -> Any:
        pictured.append(frame.pts)
        return real_converted(reader, frame, *rest)

    def indexed(*arguments: Any) -> Iterator[tuple[int, Any]]:
        for index, frame in real_indexed(*arguments):
            came.append(index)
            yield index, frame

    monkeypatch.setattr(decode.PictureReader, "converted", converted)
    monkeypatch.setattr(decode, "_indexed", indexed)
    draw_sheet(task(path, spec(OCR)), Shown("t", 0.0, (0.0,) * 3))
    assert len(pictured) == 3, "each of three frames once, for scoring and for showing"
    assert 0 in came and 30 in came and 59 in came
    assert len(came) <= 1 + 1 + 10, "the first; a key frame; and the stretch before the last"


@pytest.fixture(params=[4, 18], ids=["shown", "not shown"])
def lossy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """24 frames, ever faster. One does not decode: of every second, one that a sheet shows, or does not show."""
    picture = videos.texture(height=96, width=128)
    frames = [np.roll(picture, k * k // 8, axis=1) for k in range(24)]
    whole = videos.write_video(tmp_path / "whole.mp4", frames, fps=10, codec="mpeg4", options={"g": "1"})
    return videos.blank_packet(whole, tmp_path / "lost.mp4", index=request.param)


def test_a_sheet_shows_the_windows_that_were_scored_though_a_frame_is_lost(lossy: Path) -> None:
    """Measuring plans anew from the 23 frames that decode, with 12 windows as before. The sheet kept the packets' plan:
    it failed where a shown frame was lost, and else drew other pairs under the stored values."""
    asked = spec(MOTION, sampling_fps=5)
    found = measure(lossy, MOTION, sampling_fps=5)
    shown = Shown("t", found.values[0], found.window_values)
    drawn = worker._Opened(task(lossy, asked)).drawn(shown, lambda count: worker.evenly(count, 6), Size(90, 120))
    assert len(drawn.plan.windows) == len(found.window_values) == 12
    said = [panels[-1].caption for panels in drawn.panels]
    assert said == [f"length of flow, mean {found.window_values[number]:.4g} px" for number in drawn.numbers]
    assert decoded(draw_sheet(task(lossy, asked), shown)).size
    assert worker.draw_cell(task(lossy, asked), shown).shape[:2] == worker.CELL


def test_a_preview_is_drawn_though_a_frame_is_lost(lossy: Path) -> None:
    """It showed every window of the packets' plan, so it always failed."""
    from PIL import Image

    image: Any = Image.open(io.BytesIO(draw_preview(task(lossy, spec(MOTION, sampling_fps=5)))))
    assert image.n_frames == 12


def test_a_score_of_another_machine_does_not_keep_a_sheet_from_being_drawn(moving_2px: Path) -> None:
    """No count of frames gives this number, so the packets' windows are shown as they are."""
    found = measure(moving_2px, MOTION)
    opened = worker._Opened(task(moving_2px, spec(MOTION)))
    scan = opened.scan
    values = tuple(value + 1 for value in found.window_values)
    drawn = opened.drawn(Shown("t", 1.0, values), lambda count: [count - 1], Size(90, 120))
    assert len(drawn.panels) == 1 and opened.scan is scan


# --- previews and thumbnails


def test_a_preview_loops_and_has_every_sampled_pair(tmp_path: Path) -> None:
    from PIL import Image

    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=20, pixels_per_frame=2)
    path = videos.write_video(tmp_path / "a.mp4", frames, fps=10)
    image: Any = Image.open(io.BytesIO(draw_preview(task(path, spec(MOTION, sampling_fps=5)))))
    assert image.n_frames == 10, "pairs (0, 1), (1, 2), (2, 4) ... (16, 18)"
    assert image.info["loop"] == 0, "for ever"
    assert image.width == 2 * worker.PREVIEW_TILE.width + 2, "the frame and its flow"


def test_a_long_preview_is_cut_to_a_bounded_number_of_frames(tmp_path: Path) -> None:
    from PIL import Image

    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=60, pixels_per_frame=2)
    path = videos.write_video(tmp_path / "a.mp4", frames, fps=10)
    data = draw_preview(task(path, spec(MOTION, sampling_fps=10)))
    image: Any = Image.open(io.BytesIO(data))
    assert image.n_frames == worker.MAX_PREVIEW_FRAMES
    assert len(data) <= worker.MAX_PREVIEW_BYTES


def test_a_thumbnail_is_a_key_frame_about_a_third_in(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), 4 * k, dtype=np.uint8) for k in range(60)]
    path = videos.write_video(tmp_path / "a.mp4", frames, lossless=True, options={"g": "10", "keyint_min": "10"})
    picture = decoded(draw_thumbnail(task(path), 120))
    assert picture.shape == (90, 120, 3)
    assert picture.mean() == pytest.approx(4 * 20, abs=4), "frame 20"


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".avi"])
def test_a_thumbnail_can_be_had_of_every_container(moving_2px: Path, tmp_path: Path, suffix: str) -> None:
    path = videos.remux(moving_2px, tmp_path / f"a{suffix}")
    assert decoded(draw_thumbnail(task(path), 64)).shape == (48, 64, 3)


def test_a_turned_video_has_an_upright_thumbnail(tmp_path: Path) -> None:
    frames = [videos.texture(height=64, width=96)] * 4
    path = videos.write_video(tmp_path / "a.mp4", frames, rotation_degrees=90)
    assert decoded(draw_thumbnail(task(path), 64)).shape == (96, 64, 3)


# --- which samples


LOW = StatRange("s", 2.0, float("inf"), high_is_set=False)
BOTH = StatRange("s", 2.0, 5.0)


def shard(
    values: list[Any], range_: StatRange = LOW, **step: Any
) -> tuple[Plan, list[Sample], list[Verdict], dict[str, list[Row]]]:
    """One step, one video a sample."""
    made = a_step("op", range_, **step)
    plan = a_plan(made)
    samples = [a_sample(number, f"{number}.mp4") for number, _ in enumerate(values, start=1)]
    tables = {"op": a_table(made, samples, values)}
    return plan, samples, decide(plan, samples, tables), tables


def lines(section: evidence.Section) -> list[int]:
    return [cell.sample.line_number for cell in section.cells]


def test_those_nearest_a_bound_are_shown_on_either_side() -> None:
    [section, undecided, lots] = evidence.choose_sheet(
        *shard([0.1, 1.9, 1.5, 2.0, 2.4, 9.0, None]), boundary=2, undecided=4, random=4
    )
    assert section.heading == "op: nearest s >= 2, on either side"
    assert lines(section) == [3, 2, 4, 5], "by value; what lies on a closed bound passes"
    assert lines(undecided) == [7]
    assert sorted(lines(lots)) == [1, 6], "only what is not on the sheet yet"


def test_each_end_of_a_range_is_a_bound_of_its_own() -> None:
    sections = evidence.choose_sheet(*shard([1.0, 2.5, 4.9, 5.1, 20.0], BOTH), boundary=1, undecided=0, random=0)
    assert {section.heading: lines(section) for section in sections} == {
        "op: nearest s >= 2, on either side": [1, 2],
        "op: nearest s <= 5, on either side": [3, 4],
    }


@pytest.mark.parametrize(
    ("any_or_all", "values", "shown"),
    [
        ("any", [1.0, 3.0], 3.0),
        ("all", [1.0, 3.0], 1.0),
        ("any", [1.0, 1.9], 1.9),
        ("all", [9.0, 3.0], 3.0),
        ("any", [None, 3.0], 3.0),
        ("all", [None, 1.0], 1.0),
        ("any", [None, 1.0], None),
        ("all", [None, 3.0], None),
    ],
)
def test_of_several_videos_the_one_that_decides_counts(any_or_all: Any, values: list[Any], shown: float | None) -> None:
    step = a_step("op", LOW, any_or_all=any_or_all)
    plan, samples = a_plan(step), [a_sample(1, "a.mp4", "b.mp4")]
    tables = {"op": a_table(step, samples, values)}
    found = evidence.near_bounds(plan, samples, decide(plan, samples, tables), tables, count=1)
    assert [near.fact.value for near in found] == ([] if shown is None else [shown])


def test_lots_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    given = shard([float(value) for value in range(100)])
    drawn = [
        lines(evidence.choose_sheet(*given, boundary=0, undecided=0, random=8, seed=seed)[0]) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_undecided_are_of_as_many_reasons_as_there_are() -> None:
    statuses: list[Status] = ["missing"] * 5 + ["timed_out", "unreadable"]  # type: ignore[assignment]
    [section] = evidence.choose_sheet(*shard(list(statuses)), boundary=0, undecided=3, random=0)
    assert {cell.verdict.status for cell in section.cells} == {"missing", "timed_out", "unreadable"}


def drawn_by_lot(step: Step, sample: Sample, tables: dict[str, list[Row]]) -> evidence.Cell:
    """The cell of one decided sample that is on the sheet for no bound."""
    verdicts = decide(a_plan(step), [sample], tables)
    [section] = evidence.choose_sheet(a_plan(step), [sample], verdicts, tables, boundary=0, undecided=0, random=1)
    [cell] = section.cells
    return cell


@pytest.mark.parametrize(
    ("any_or_all", "values", "shown"),
    [
        ("all", [3.0, 1.0, 9.0], 1.0),
        ("all", [1.5, 0.5], 0.5),
        ("all", [None, 1.0], 1.0),
        ("any", [0.5, 1.9], 1.9),
    ],
)
def test_a_dropped_sample_is_shown_with_the_video_that_dropped_it(
    any_or_all: Any, values: list[Any], shown: float
) -> None:
    """Once the first video stood there, which may well pass."""
    step = a_step("op", LOW, any_or_all=any_or_all)
    sample = a_sample(1, *(f"{number}.mp4" for number in range(len(values))))
    cell = drawn_by_lot(step, sample, {"op": a_table(step, [sample], values)})
    assert cell.verdict.outcome == "dropped"
    assert cell.fact is not None and cell.video is not None and cell.fact.value == shown
    assert cell.video.position == values.index(shown)


SIZES = (StatRange("width", 100.0, float("inf")), StatRange("height", 100.0, float("inf")))


def test_a_sample_that_its_height_dropped_is_shown_with_its_height() -> None:
    """Once a step with two stats always showed the first, which passes."""
    step, sample = a_step("op", *SIZES), a_sample(1, "a.mp4")
    tables = {"op": [*a_table(step, [sample], [300.0]), *a_table(step, [sample], [50.0], stat="height")]}
    cell = drawn_by_lot(step, sample, tables)
    assert cell.fact is not None and (cell.fact.stat, cell.fact.value) == ("height", 50.0)
    [exhibit] = evidence.choose(
        a_plan(step), [sample], decide(a_plan(step), [sample], tables), tables, kept=0, dropped=1
    )
    assert (exhibit.fact.stat, exhibit.fact.value) == ("height", 50.0)


def test_the_number_shown_is_of_the_stat_that_the_verdict_names() -> None:
    """The narrow video is at fault by the verdict, though the low one is further from its bound."""
    step, sample = a_step("op", *SIZES, any_or_all="all"), a_sample(1, "low.mp4", "narrow.mp4")
    widths, heights = [300.0, 99.0], [1.0, 300.0]
    tables = {"op": [*a_table(step, [sample], widths), *a_table(step, [sample], heights, stat="height")]}
    cell = drawn_by_lot(step, sample, tables)
    assert cell.fact is not None and cell.video is not None and cell.verdict.stat == "width"
    assert (cell.video.given, cell.fact.value) == ("narrow.mp4", 99.0)


def test_an_undecided_sample_is_shown_with_the_video_that_has_no_number() -> None:
    """Once the first video stood there, which was measured: files that are whole may time out."""
    step = a_step("op", LOW, any_or_all="all")
    sample = a_sample(1, "fine.mp4", "slow.mp4")
    tables = {"op": a_table(step, [sample], [3.0, "timed_out"])}
    verdicts = decide(a_plan(step), [sample], tables)
    [section] = evidence.choose_sheet(a_plan(step), [sample], verdicts, tables, boundary=0, undecided=1, random=0)
    [cell] = section.cells
    assert cell.video is not None and cell.video.given == "slow.mp4"
    assert cell.verdict.status == "timed_out" and cell.fact is None


# --- through workers


def plan_with(**options: Any) -> Plan:
    step = StepSource(1, MOTION, {"min_score": 1.0, **options})
    return make_plan(Recipe("r", "r.yaml", "0", Path("ds.jsonl"), Path("res.jsonl"), (step,), Settings()))


@pytest.fixture
def decided(
    moving_2px: Path, still: Path, tmp_path: Path
) -> tuple[Plan, list[Sample], list[Verdict], dict[str, list[Row]]]:
    """Two that move, one that does not, one that is not there."""
    plan = plan_with()
    [step] = plan.steps
    given = [
        Sample(f"ds:{n}", "ds", n, {}, (Video("videos", 0, p.name, str(p)),))
        for n, p in enumerate([moving_2px, moving_2px, still, tmp_path / "none.mp4"], start=1)
    ]
    samples = identify(given, roots=[moving_2px.parent, still.parent, tmp_path], limits=Limits())
    rows, verdicts = [], []
    outcomes: list[Outcome] = ["kept", "kept", "dropped", "undecided"]
    for sample, outcome in zip(samples, outcomes, strict=True):
        [video] = sample.videos
        found = measure(Path(video.path), MOTION) if video.status == "ok" else None
        value, windows = (found.values[0], found.window_values) if found else (None, ())
        fact = Fact(
            video.content_hash, MOTION, step.measure_id, "video_motion_score", value, windows, status=video.status
        )
        rows.append(Row(sample.sample_id, "videos", 0, video.path, fact))
        where = step.key if outcome != "kept" else ""
        verdicts.append(Verdict(sample.sample_id, outcome, step=where, status=video.status, reason=video.reason))
    return plan, samples, verdicts, {step.key: rows}


def roots_of(samples: list[Sample]) -> list[Path]:
    return [Path(video.path).parent for sample in samples for video in sample.videos]


def test_the_first_kept_and_dropped_get_a_sheet_and_a_preview_each(decided: Any, tmp_path: Path) -> None:
    plan, samples, _, _ = decided
    exhibits = evidence.choose(*decided, kept=1, dropped=1)
    assert [(e.sample.sample_id, e.folder) for e in exhibits] == [("ds:1", "kept"), ("ds:3", "dropped")]
    drawn = evidence.write_evidence(exhibits, plan, roots=roots_of(samples), folder=tmp_path / "evidence")
    paths = [one.path for one in drawn if one.path is not None]
    assert [(path.parent.name, path.suffix) for path in paths] == [
        ("kept", ".jpg"),
        ("kept", ".webp"),
        ("dropped", ".jpg"),
        ("dropped", ".webp"),
    ]
    assert sorted(p.name for p in (tmp_path / "evidence" / "kept").iterdir()) == [p.name for p in paths[:2]]
    assert evidence.choose(*decided, kept=0, dropped=0) == []


def test_a_contact_sheet_shows_all_and_says_why_of_what_it_cannot_show(decided: Any) -> None:
    _, samples, _, _ = decided
    sections = evidence.choose_sheet(*decided, boundary=2, undecided=2, random=2)
    assert [len(section.cells) for section in sections] == [3, 1, 0]
    sheet = evidence.contact_sheet(sections, title="r, shard ds", roots=roots_of(samples), limits=Limits())
    picture = decoded(sheet)
    small = evidence.contact_sheet(
        sections, title="r, shard ds", roots=roots_of(samples), limits=Limits(), max_bytes=30_000
    )
    assert len(small) <= 30_000 < len(sheet)
    assert decoded(small).shape[1] <= picture.shape[1]


def test_a_file_that_has_changed_is_a_line_and_not_a_picture(decided: Any, tmp_path: Path) -> None:
    plan, samples, _, _ = decided
    [exhibit] = evidence.choose(*decided, kept=1, dropped=0)
    changed = replace(exhibit, video=replace(exhibit.video, num_bytes=1))
    [drawn] = evidence.write_evidence([changed], plan, roots=roots_of(samples), folder=tmp_path / "evidence")
    assert drawn.path is None and "changed after it was identified" in drawn.problem
    assert not (tmp_path / "evidence").exists()


HOSTILE = {
    "cut short": lambda moving, path: videos.cut_short(moving, path),
    "no media": lambda _, path: path.write_bytes(b"not a video at all" * 50),
    "a bomb": lambda _, path: videos.decompression_bomb(path),
    "sound alone": lambda _, path: videos.write_audio(path),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_an_error_with_a_status(moving_2px: Path, tmp_path: Path, make: Any) -> None:
    path = tmp_path / "a.mp4"
    make(moving_2px, path)
    [step] = plan_with().steps
    [sample] = identify(
        [Sample("ds:1", "ds", 1, {}, (Video("videos", 0, "a.mp4", str(path)),))], roots=[tmp_path], limits=Limits()
    )
    [video] = sample.videos
    fact = Fact(video.content_hash, MOTION, step.measure_id, "video_motion_score", 2.0, (2.0, 2.0))
    where: dict[str, Any] = {"roots": [tmp_path], "limits": Limits()}
    with pytest.raises(MediaError):
        evidence.sheet(step, video, fact, title="t", **where)
    with pytest.raises(MediaError):
        evidence.preview(step, video, **where)
    cell = evidence.Cell(sample, Verdict("ds:1", "kept"), video, step, fact)
    assert evidence.contact_sheet([evidence.Section("all", (cell,))], title="t", **where)[:2] == b"\xff\xd8"


def test_a_number_that_was_never_found_has_no_sheet(decided: Any) -> None:
    plan, samples, _, tables = decided
    [step] = plan.steps
    with pytest.raises(MediaError, match="has no video_motion_score"):
        evidence.sheet(
            step, samples[3].videos[0], tables[step.key][3].fact, title="t", roots=roots_of(samples), limits=Limits()
        )


# --- the list of a folder


def test_what_is_drawn_no_more_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    old, stays, foreign = (folder / "kept" / name for name in ("old.jpg", "stays.webp", "foreign.jpg"))
    old.parent.mkdir(parents=True)
    for path in (old, stays, foreign):
        path.write_bytes(b"x")
    evidence.replace_listed(folder, [old, stays])
    evidence.replace_listed(folder, [stays])
    assert {path.name for path in old.parent.iterdir()} == {"stays.webp", "foreign.jpg"}
    evidence.replace_listed(folder, [])
    assert [path.name for path in old.parent.iterdir()] == ["foreign.jpg"]


def test_a_folder_without_pictures_gets_no_list(tmp_path: Path) -> None:
    evidence.replace_listed(tmp_path / "evidence", [])
    assert not (tmp_path / "evidence").exists()


def test_a_list_that_somebody_changed_removes_nothing_elsewhere(tmp_path: Path) -> None:
    folder, outside = tmp_path / "evidence", tmp_path / "outside"
    for place in (folder, outside):
        place.mkdir()
    precious = [outside / "a.jpg", tmp_path / "b.jpg", folder / "notes.txt"]
    for path in precious:
        path.write_bytes(b"x")
    (folder / "link").symlink_to(outside)
    (folder / "dir.jpg").mkdir()
    names: list[Any] = [str(precious[0]), "../b.jpg", "link/a.jpg", "notes.txt", "dir.jpg", "nul\0.jpg", "\udcff.jpg"]
    (folder / "evidence.json").write_text(json.dumps({"pictures": [*names, "x" * 999 + ".jpg", "", ".", 3, None]}))
    evidence.replace_listed(folder, [])
    assert all(path.exists() for path in precious) and (folder / "dir.jpg").is_dir()


@pytest.mark.parametrize("text", ["", "[]", "3", '{"pictures": 3}', '{"pictures": {"a": 1}}', "[" * 100_000, "\udcff"])
def test_a_damaged_list_is_written_anew(tmp_path: Path, text: str) -> None:
    picture, path = tmp_path / "a.jpg", tmp_path / "evidence.json"
    picture.write_bytes(b"x")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    evidence.replace_listed(tmp_path, [picture])
    assert picture.exists() and json.loads(path.read_text()) == {"pictures": ["a.jpg"]}


# --- words


@pytest.mark.parametrize(
    "text",
    [
        "plain.mp4",
        "naïve ≥ 2 → ×",
        "привет мир",
        "中文.mp4",
        "\x1b[31mred\n\t",
        "\udcff lone",
        "<script>",
        "",
        "x" * 5000,
    ],
)
def test_every_name_can_be_written(text: str) -> None:
    strip = canvas.strip([Line(text)], 300)
    assert strip.shape[1] == 300 and (text == "" or strip.min() < 128)
    assert all(len(line) <= 300 for line in canvas.wrapped(text, 300, size=13, most_lines=3))
    assert len(canvas.wrapped(text, 300, size=13, most_lines=3)) <= 3


def test_a_long_name_keeps_its_end() -> None:
    cut = canvas.shortened("ds.jsonl:1  " + "folder/" * 100 + "clip.mp4", 200, 12, keep_end=True)
    assert cut.startswith("ds.jsonl:1") and cut.endswith("clip.mp4") and "…" in cut
    assert canvas.shortened("short", 200, 12) == "short"


def test_what_has_no_glyph_is_an_escape() -> None:
    assert canvas.printable("a中\x00é") == "a\\u4e2d\\x00é"


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (1, 1), (36, 64)])
def test_any_shape_fits_its_box(shape: tuple[int, int]) -> None:
    box = Size(180, 320)
    fitted = canvas.fitted(Size(*shape), box)
    assert 1 <= fitted.height <= 180 and 1 <= fitted.width <= 320
    picture = canvas.centred(canvas.resized(np.zeros((*shape, 3), np.uint8), fitted), box)
    assert picture.shape == (180, 320, 3)


def test_a_file_name_holds_nothing_but_plain_letters() -> None:
    name = evidence.file_name("../ds.jsonl:1", "a b/ü", "step")
    assert re.fullmatch(r"ds\.jsonl-1-[0-9a-f]{12}_a-b-[0-9a-f]{12}_step", name)
    assert evidence.file_name("clip_1", "videos0", "step") == "clip_1_videos0_step", "a plain name stays as it is"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("привет", "пока"),
        ("ds:1", "ds-1"),
        ("ds:1", "ds/1"),
        ("x" * 200 + "1", "x" * 200 + "2"),
        (".a", "a"),
        ("-a", "a"),
        ("\udcff", "\udcfe"),
        ("", "-"),
    ],
)
def test_other_names_have_other_file_names(one: str, other: str) -> None:
    """Names that differed in what a file name cannot hold, or after their 80th character, shared one picture."""
    names = [evidence.file_name(part, part, part) for part in (one, other)]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) for name in names), "and never an option"
    assert all(len(temporary_beside(Path(f"{name}.webp")).name) <= 255 for name in names)
