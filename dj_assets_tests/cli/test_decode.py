"""`dj-assets plan --decode`: what decoding one video takes, told and not done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dj_assets_tests import videos
from dj_assets_tests.cli.project_store import dj_assets


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of motion and OCR; five seconds of H.264 with B-frames and a key frame every second."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    recipe = "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nprocess:\n"
    steps = "  - video_duration_filter:\n  - video_motion_score_filter:\n  - video_ocr_area_ratio_filter:\n"
    (tmp_path / "recipes" / "all.yaml").write_text(recipe + steps)
    (tmp_path / "recipes" / "header.yaml").write_text(recipe + "  - video_duration_filter:\n")
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=120, pixels_per_frame=2)
    videos.write_video(tmp_path / "a.mp4", frames, options={"g": "24", "bf": "2", "sc_threshold": "0"})
    return tmp_path


def test_it_says_what_is_sent_and_what_is_left_out(project: Path) -> None:
    result = dj_assets("plan", "recipes/all.yaml", "--decode", "a.mp4", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert set(found) == {"cpu", "gpu"}, "the header pass decodes nothing"
    motion, ocr = found["cpu"], found["gpu"]
    assert (motion["frames"], motion["steps"][0]["windows"], motion["steps"][0]["look"]) == (11, 10, "gray8 128x96")
    assert (ocr["frames"], ocr["steps"][0]["look"]) == (3, "rgb24 128x96")
    for counts in (motion["counts"], ocr["counts"]):
        assert counts["packets"] == counts["sent"] + counts["disposable"] + counts["outside"] == 120
    assert motion["counts"]["sent"] < 80, "B-frames that nobody wants, and what follows the last wanted one"
    assert ocr["counts"]["sent"] <= 1 + 13 + 24 and ocr["counts"]["stretches"] == 3
    assert motion["conversions"] == ["bgr24", "gray8"] and motion["is_held"]


def test_for_people_it_is_two_tables_a_pass_and_nothing_is_written(project: Path) -> None:
    before = sorted(project.rglob("*"))
    result = dj_assets("plan", "recipes/all.yaml", "--decode", "a.mp4")
    assert result.exit_code == 0, result.output
    for part in ("pass cpu", "pass gpu", "video_motion_score_filter", "sent to the decoder", "120", "5 of them key"):
        assert part in result.output
    assert sorted(project.rglob("*")) == before


def test_a_codec_that_cannot_be_begun_midway_says_so(project: Path) -> None:
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=24, pixels_per_frame=2)
    videos.write_video(project / "b.avi", frames, codec="mpeg4")
    result = dj_assets("plan", "recipes/all.yaml", "--decode", "b.avi")
    assert "all packets up to the last wanted one are decoded: this mpeg4 is not begun midway" in result.output


def test_what_cannot_be_told_is_an_error_in_three_parts(project: Path) -> None:
    (project / "c.mp4").write_bytes(b"no video at all")
    for arguments, said in (
        (("recipes/all.yaml", "--decode", "none.mp4"), "does not exist"),
        (("recipes/all.yaml", "--decode", "c.mp4"), "Invalid data"),
        (("recipes/header.yaml", "--decode", "a.mp4"), "decodes nothing"),
    ):
        result = dj_assets("plan", *arguments)
        assert result.exit_code not in (0, None), arguments
        assert said in result.output and "allowed:" in result.output and "try:" in result.output


def test_a_video_outside_the_roots_may_be_looked_at_by_its_path(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a.mp4"
    shutil.copyfile(project / "a.mp4", elsewhere)
    result = dj_assets("plan", "recipes/all.yaml", "--decode", str(elsewhere))
    assert result.exit_code == 0, result.output
