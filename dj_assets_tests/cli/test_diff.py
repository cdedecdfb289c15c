"""`dj-assets diff` as a user meets it: it names exactly the samples that two full runs differ in."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reruns import COUNTER, read_log
from dj_assets import evidence
from dj_assets.errors import Unreadable
from dj_assets_tests.cli.project_store import dj_assets
from dj_assets_tests.videos import cut_short, shifting, texture, write_video

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/{name}/res.jsonl
dj_assets:
  export_paths: as_given
process:
  - video_duration_filter:
      min_duration: {seconds}
  - video_motion_score_filter:
      min_score: {score}
      sampling_fps: {fps}
"""

HOSTILE = "<img src=x onerror=alert(1)>.mp4"
LOW, HIGH = 1.0, 2.5
"""Scores between those of clips that move by 0, 1 and 2 pixels a frame."""

DIFFERS, CANNOT_TELL = 4, 5


@pytest.fixture(scope="session")
def made_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips: 6, 12 or 24 frames at 12 fps, moving by 0 to 3 pixels a frame; one of them is cut short. Settled long
    ago, so that their identities are remembered."""
    folder = tmp_path_factory.mktemp("made_clips")
    for seed, (num_frames, pixels) in enumerate((n, p) for n in (6, 12, 24) for p in range(4)):
        frames = shifting(texture(height=64, width=96, seed=seed), num_frames=num_frames, pixels_per_frame=pixels)
        write_video(folder / f"{num_frames:02d}-{pixels}.mp4", frames, fps=12)
    cut_short(folder / "24-3.mp4", folder / "cut.mp4", share=0.3)
    (folder / "24-1.mp4").rename(folder / HOSTILE)
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return folder


@pytest.fixture
def project(tmp_path: Path, made_clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: old.yaml and new.yaml over the clips, one line each, a missing one and a broken line."""
    shutil.copytree(made_clips, tmp_path / "vids")
    names = [f"vids/{path.name}" for path in sorted(made_clips.iterdir())]
    records = [json.dumps({"text": "", "videos": [name]}) for name in [*names, "vids/gone.mp4"]]
    (tmp_path / "ds.jsonl").write_text("\n".join([*records, '{"videos": 3}']) + "\n", encoding="utf-8")
    write_recipe(tmp_path / "old.yaml", seconds=1.5, score=LOW)
    write_recipe(tmp_path / "new.yaml", seconds=0.8, score=HIGH)
    monkeypatch.chdir(tmp_path)
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_recipe(path: Path, *, seconds: float, score: float, fps: float = 6) -> None:
    path.write_text(RECIPE.format(name=path.stem, seconds=seconds, score=score, fps=fps))


def exported(name: str) -> set[str]:
    lines = Path("out", name, "res.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["videos"][0] for line in lines}


def diff(*arguments: str, code: int = 0) -> dict[str, Any]:
    result = dj_assets("diff", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def videos(record: dict[str, Any], kind: str) -> set[str]:
    return {one["videos"][0]["path"] for one in record[kind]}


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def counted_diff(folder: Path, *arguments: str) -> tuple[set[str], set[str]]:
    """(opened, decoded) videos, counted from outside in every process of a real command."""
    log = folder / "decodes"
    log.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(COUNTER), *filter(None, sys.path)]),
        "DECODE_LOG": str(log),
    }
    command = [sys.executable, "-c", "from dj_assets.cli import main; main()", "diff", *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=folder)
    found = read_log(log)
    return set(found.opened), set(found.decoded)


def test_it_names_exactly_the_samples_that_two_full_runs_differ_in(project: Path) -> None:
    """One story, since runs are dear: unknown before a run, exact after both, by the store alone without a dataset."""
    before = diff("old.yaml", "new.yaml", "--exit-code", code=CANNOT_TELL)
    assert (before["counts"]["entering"], before["counts"]["leaving"]) == (0, 0)
    assert before["counts"]["cannot_be_known"] == 13, "all but the missing file and the broken line"
    assert not (project / ".dj_assets").exists(), "nothing was written"

    assert dj_assets("process", "old.yaml").exit_code == 3
    half = diff("old.yaml", "new.yaml", "--exit-code", code=DIFFERS)
    assert videos(half, "cannot_be_known") == {f"vids/12-{pixels}.mp4" for pixels in range(4)}, (
        "too short for the old one"
    )
    assert dj_assets("process", "new.yaml").exit_code == 3
    record = diff("old.yaml", "new.yaml", "--exit-code", code=DIFFERS)

    old, new = exported("old"), exported("new")
    assert new - old and old - new, "the recipes were chosen so that both happens"
    assert videos(record, "entering") == new - old
    assert videos(record, "leaving") == old - new
    assert videos(half, "leaving") == old - new and new - old <= videos(half, "cannot_be_known")
    assert record["counts"]["cannot_be_known"] == 0
    assert record["old"]["exported"] == len(old) and record["new"]["exported"] == len(new)
    assert record["old"]["undecided"] == record["new"]["undecided"] == {"malformed": 1, "missing": 1, "unreadable": 1}
    assert {(c["option"], c["old"], c["new"]) for c in record["changes"] if c["moves_verdicts"]} == {
        ("min_duration", "1.5", "0.8"),
        ("min_score", "1", "2.5"),
    }
    assert counted_diff(project, "old.yaml", "new.yaml") == (set(), set()), "0 decodes, and no file opened as a video"

    reverse = diff("new.yaml", "old.yaml")
    assert (videos(reverse, "entering"), videos(reverse, "leaving")) == (old - new, new - old)
    assert dj_assets("diff", "old.yaml", "new.yaml").stdout == dj_assets("diff", "old.yaml", "new.yaml").stdout
    (project / "ds.jsonl").rename(project / "away.jsonl")
    gone = diff("old.yaml", "new.yaml")
    assert (gone["samples_from"], gone["entering"]) == ("store", record["entering"])
    over = diff("old.yaml", "new.yaml", "--over", "away.jsonl")
    assert (over["samples_from"], videos(over, "entering")) == ("dataset", new - old)


def test_a_param_that_nobody_measured_is_said_to_be_unknown_and_a_run_makes_it_known(project: Path) -> None:
    """Short circuit is on: of clips that the length drops, nobody ever measures motion, and nobody has to."""
    write_recipe(project / "old.yaml", seconds=1.5, score=HIGH)
    write_recipe(project / "new.yaml", seconds=1.5, score=HIGH, fps=3)
    dj_assets("process", "old.yaml")
    record = diff("old.yaml", "new.yaml", "--exit-code", code=CANNOT_TELL)
    assert [c["text"] for c in record["changes"] if c["moves_verdicts"]] == [
        "video_motion_score_filter: sampling_fps: 6.0 → 3.0, another measure"
    ]
    assert (record["counts"]["entering"], record["counts"]["leaving"]) == (0, 0)
    long_enough = videos(record, "cannot_be_known")
    assert long_enough == {f"vids/{name}" for name in ("24-0.mp4", "24-2.mp4", "24-3.mp4", HOSTILE)}
    [gap] = record["not_measured"]
    assert (gap["side"], gap["step"], gap["samples"]) == ("new", "video_motion_score_filter", len(long_enough))
    assert record["try"] == ["dj-assets analyze new.yaml"]
    assert "dj-assets analyze new.yaml" in dj_assets("diff", "old.yaml", "new.yaml").stdout

    dj_assets("process", "new.yaml")
    after = diff("old.yaml", "new.yaml")
    assert after["counts"]["cannot_be_known"] == 0
    assert videos(after, "entering") == exported("new") - exported("old") == {f"vids/{HOSTILE}"}
    assert videos(after, "leaving") == exported("old") - exported("new")


def test_overrides_apply_to_the_new_recipe_and_its_own_earlier_self_is_the_old_one(project: Path) -> None:
    git("init", "-q")
    git("add", "old.yaml")
    git("commit", "-qm", "before")
    shutil.copy("old.yaml", "before.yaml")
    write_recipe(project / "old.yaml", seconds=0.8, score=HIGH)
    dj_assets("process", "old.yaml")
    by_git, by_file = diff("old.yaml", "--git", "HEAD"), diff("before.yaml", "old.yaml")
    assert by_git["counts"] == by_file["counts"] and by_git["entering"] == by_file["entering"]
    assert by_git["counts"]["entering"] and by_git["counts"]["leaving"]
    assert (by_git["old"]["file"], by_git["old"]["recipe"]) == ("HEAD:old.yaml", "old")
    overridden = diff(
        "old.yaml",
        "--git",
        "HEAD",
        "--video_duration_filter.min_duration",
        "1.5",
        "--video_motion_score_filter.min_score=1",
    )
    assert overridden["counts"]["entering"] == overridden["counts"]["leaving"] == 0


def test_what_it_says_to_try_can_be_typed_and_leaves_the_export_alone(project: Path) -> None:
    """It once named a recipe beside the working directory's, and ran it into the export of the recipe as it is now."""
    path = project / "my recipes" / "now.yaml"
    path.parent.mkdir()
    write_recipe(path, seconds=1.5, score=HIGH, fps=3)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "before")
    write_recipe(path, seconds=0.8, score=HIGH)
    dj_assets("process", str(path))
    before = {file: file.read_bytes() for file in Path("out").rglob("*") if file.is_file()}
    record = diff("my recipes/now.yaml", "--git", "HEAD")
    [line] = record["try"]
    show, _, analyze = line.partition(" && ")
    assert show == "git -C 'my recipes' show HEAD:./now.yaml > old_now.yaml"
    subprocess.run(show, shell=True, check=True)
    words = shlex.split(analyze)
    assert words == ["dj-assets", "analyze", "old_now.yaml", "-o", "old_now_analysis"]
    dj_assets(*words[1:])
    after = diff("my recipes/now.yaml", "--git", "HEAD")
    assert after["counts"]["cannot_be_known"] == 0 and after["try"] == []
    assert before == {file: file.read_bytes() for file in Path("out").rglob("*") if file.is_file()}


@pytest.fixture
def measured_project(project: Path) -> Path:
    dj_assets("process", "old.yaml", "--dj_assets.short_circuit", "false")
    return project


def test_the_page_escapes_names_shows_pictures_and_asks_nobody(
    measured_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def thumbnail(video: Any, **_: Any) -> bytes:
        drawn.append(video.given)
        if video.given.endswith("12-2.mp4"):
            raise Unreadable("no <b>picture</b>")
        return b"\xff\xd8jpeg"

    monkeypatch.setattr(evidence, "thumbnail", thumbnail)
    bounds = ["--video_motion_score_filter.min_score", "2.5", "--video_duration_filter.min_duration", "0.8"]
    result = dj_assets("diff", "old.yaml", "old.yaml", *bounds, "-o", "page.html")
    assert result.exit_code == 0, result.stderr
    page = (measured_project / "page.html").read_text(encoding="utf-8")
    assert HOSTILE not in page and "&lt;img src=x onerror=alert(1)&gt;.mp4" in page
    assert "http" not in page
    record = diff("old.yaml", "old.yaml", *bounds)
    named = videos(record, "entering") | videos(record, "leaving")
    assert sorted(drawn) == sorted(named) == [f"vids/{name}" for name in ("12-2.mp4", "12-3.mp4", HOSTILE)]
    assert page.count("data:image/jpeg") == 2 and "no &lt;b&gt;picture&lt;/b&gt;" in page
    assert "decoded one frame of 3 videos" in result.stderr


def test_a_page_without_thumbnails_decodes_nothing(measured_project: Path) -> None:
    bounds = ["--video_motion_score_filter.min_score", "0"]
    arguments = ["old.yaml", "old.yaml", *bounds, "-o", "page.html", "--no-thumbnails"]
    assert counted_diff(measured_project, *arguments) == (set(), set())
    page = (measured_project / "page.html").read_text(encoding="utf-8")
    assert "Entering (" in page and "data:image" not in page


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "one recipe": (("old.yaml",), "1 recipe named: old.yaml"),
    "two and a revision": (("old.yaml", "new.yaml", "--git", "HEAD"), "2 recipes named"),
    "a revision that is an option": (("old.yaml", "--git", "--output=x"), "--git is '--output=x'"),
    "a revision that names a file": (("old.yaml", "--git", "HEAD:old.yaml"), "--git is 'HEAD:old.yaml'"),
    "no repository": (("old.yaml", "--git", "HEAD"), "is in no git repository"),
    "other data": (("old.yaml", "new.yaml", "--dataset_path", "other.jsonl"), "different data"),
    "nothing stored": (("old.yaml", "new.yaml", "--stored"), "the store has no samples of new or old"),
    "no such file": (("old.yaml", "nwe.yaml"), "did you mean new.yaml"),
}


@pytest.mark.parametrize(("arguments", "answer"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_right_exits_with_2(
    arguments: tuple[str, ...], answer: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    result = dj_assets("diff", *arguments)
    assert result.exit_code == 2, result.stdout
    assert answer in result.stderr
    assert "\n  allowed: " in result.stderr and "\n  try: " in result.stderr
    assert not (project / "x").exists()


def test_what_git_does_not_know_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "-q")
    git("add", "new.yaml")
    git("commit", "-qm", "one")
    assert "git knows no revision 'v9'" in dj_assets("diff", "old.yaml", "--git", "v9").stderr
    assert "old.yaml is not in revision 'HEAD'" in dj_assets("diff", "old.yaml", "--git", "HEAD").stderr
    (project / "new.yaml").write_text("process: 3\n")
    git("commit", "-qam", "broken")
    write_recipe(project / "new.yaml", seconds=1, score=1)
    assert "HEAD:new.yaml:1 option process: process is 3" in dj_assets("diff", "new.yaml", "--git", "HEAD").stderr
    monkeypatch.setenv("PATH", str(project))
    assert "git is not installed" in dj_assets("diff", "old.yaml", "--git", "HEAD").stderr
