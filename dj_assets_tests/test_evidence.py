"""Pictures that explain a number, drawn from the stored row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dj_assets import workers
from dj_assets.evidence import choose, draw_sheet, write_evidence
from dj_assets.measure import identify
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import Evidence, Limits, Recipe, Settings, StepSource
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Fact, Row, Verdict
from dj_assets_tests.operators.tasks import measure, spec, task

MOTION, OCR = "video_motion_score_filter", "video_ocr_area_ratio_filter"


def decode_jpeg(data: bytes) -> np.ndarray:
    import cv2

    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_stored_boxes_are_drawn_where_they_are(still: Path) -> None:
    detail = json.dumps({"rectangles": [[16, 24, 112, 72]], "quadrilaterals": []})
    sheet = decode_jpeg(draw_sheet(task(still, spec(OCR, frame_sample_num=1)), "t", [0.375], [detail]))
    assert sheet.shape == (28 + 28 + 360, 480, 3), "title, caption, 96x128 scaled to a width of 480"
    red = (sheet[56:, :, 0] > 180) & (sheet[56:, :, 1] < 90) & (sheet[56:, :, 2] < 90)
    rows, columns = np.nonzero(red)
    scale = 480 / 128
    assert rows.min() == pytest.approx(24 * scale, abs=8) and rows.max() == pytest.approx(72 * scale, abs=8)
    assert columns.min() == pytest.approx(16 * scale, abs=8) and columns.max() == pytest.approx(112 * scale, abs=8)


def test_motion_is_colour_and_stillness_is_black(moving_2px: Path, still: Path) -> None:
    moving = decode_jpeg(draw_sheet(task(moving_2px, spec(MOTION)), "t", [2.0, 2.0], []))
    static = decode_jpeg(draw_sheet(task(still, spec(MOTION)), "t", [0.0, 0.0], []))
    assert moving.shape == (28 + 28 + 360, 960, 3), "two windows side by side"
    assert moving[60:].mean() > 20 > static[60:].mean()


def plan_with(evidence: Evidence) -> Plan:
    step = StepSource(1, MOTION, {"min_score": 1.0})
    settings = Settings(evidence=evidence)
    return make_plan(Recipe("r", "r.yaml", "0", Path("ds.jsonl"), Path("res.jsonl"), (step,), settings))


def test_the_first_kept_and_dropped_get_a_sheet_each(moving_2px: Path, still: Path, tmp_path: Path) -> None:
    plan = plan_with(Evidence(kept=1, dropped=1))
    [step] = plan.steps
    roots = [moving_2px.parent, still.parent]
    given = [
        Sample(f"ds:{n}", "ds", n, {}, (Video("videos", 0, str(p), str(p)),))
        for n, p in enumerate([moving_2px, moving_2px, still, tmp_path / "none.mp4"], start=1)
    ]
    samples = identify(given, roots=[*roots, tmp_path], limits=Limits())
    rows, verdicts = [], []
    for sample, outcome in zip(samples, ["kept", "kept", "dropped", "undecided"], strict=True):
        [video] = sample.videos
        found = measure(Path(video.path), MOTION) if video.status == "ok" else None
        value, windows = (found.values[0], found.window_values) if found else (None, ())
        fact = Fact(
            video.content_hash, MOTION, step.measure_id, "video_motion_score", value, windows, status=video.status
        )
        rows.append(Row(sample.sample_id, "videos", 0, video.path, fact))
        verdicts.append(Verdict(sample.sample_id, outcome, step=step.key if outcome != "kept" else ""))  # type: ignore[arg-type]
    exhibits = choose(plan, samples, verdicts, {step.key: rows})
    assert [(e.sample.sample_id, e.outcome) for e in exhibits] == [("ds:1", "kept"), ("ds:3", "dropped")]
    paths = write_evidence(exhibits, plan, roots=roots, folder=tmp_path / "evidence")
    workers.close_pools()
    assert [path.parent.name for path in paths] == ["kept", "dropped"]
    assert all(decode_jpeg(path.read_bytes()).shape[1] == 960 for path in paths)
    assert choose(plan_with(Evidence()), samples, verdicts, {step.key: rows}) == []
