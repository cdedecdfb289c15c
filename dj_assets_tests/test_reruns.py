"""A number that is known is not measured again: counted outside of the software, in every process that it starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reruns import COUNTER, DURATION, MOTION, Counted, Project, ours, read_log, with_raised_version
from dj_assets_tests.videos import numbered, shifting, texture, write_video

LENGTH_AND_MOTION = [{DURATION: {"min_duration": 0.1}}, {MOTION: {"min_score": 0.0}}]
MOTION_ALONE = [{MOTION: {"min_score": 0.25}}]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two clips of half a second that pass the recipe `both`; `motion` takes one of its two measures."""
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME", "DJ_ASSETS_OPERATORS"):
        monkeypatch.delenv(name, raising=False)
    videos = [clip(tmp_path / f"{name}.mp4", seed) for seed, name in enumerate(("one", "two"))]
    return Project(tmp_path / "project", videos, {"both": LENGTH_AND_MOTION, "motion": MOTION_ALONE})


def clip(path: Path, seed: int) -> Path:
    return write_video(
        path, shifting(texture(height=48, width=64, seed=seed), num_frames=12, pixels_per_frame=1), fps=24
    )


def names(paths: frozenset[str]) -> list[str]:
    return sorted(Path(path).name for path in paths)


def bounds_and_np(project: Project) -> None:
    project.recipes["both"]["np"] = 2
    project.recipes["both"]["export_path"] = "elsewhere/kept.jsonl"
    project.set_option("both", DURATION, min_duration=0.2, max_duration=30)
    project.set_option("both", MOTION, min_score=0.5, any_or_all="all")


def other_places(project: Project) -> None:
    project.move(0, "vids/renamed.mp4")
    project.move(1, "moved/two.mp4")
    project.copy(0, "copied/copy.mp4")


RERUNS: dict[str, tuple[Callable[[Project], object], list[str]]] = {
    "nothing": (lambda project: None, []),
    "bounds, any_or_all, np and the export's path": (bounds_and_np, []),
    "files renamed, moved and copied": (other_places, []),
    "a row": (lambda project: project.append(clip(project.folder.parent / "new.mp4", 2)), ["new.mp4"]),
}


def test_what_changed_is_measured_and_nothing_else(project: Project, tmp_path: Path) -> None:
    """One long story, since each change is met by a store that knows all that went before."""
    first = project.run(ours(), "both")
    assert names(first.decoded) == ["one.mp4", "two.mp4"]

    for changed, (change, decoded) in RERUNS.items():
        change(project)
        counted = project.run(ours(), "both")
        assert names(counted.decoded) == names(counted.opened) == decoded, f"changed: {changed}"
    everything = ["new.mp4", "renamed.mp4", "two.mp4"]

    second_recipe = project.run(ours(), "motion")
    assert second_recipe == Counted(frozenset(), frozenset()), "its only measure is known from the first recipe"

    newer_length = with_raised_version(ours(), DURATION, tmp_path / "newer_length")
    raised = project.run(newer_length, "both")
    assert len(raised.opened) == 3, "three contents under four paths"
    assert names(raised.decoded) == [], "length is read from packets: motion would have had frames decoded"

    project.set_option("both", MOTION, sampling_fps=4)
    assert names(project.run(newer_length, "both").decoded) == everything
    newer_motion = with_raised_version(ours(), MOTION, tmp_path / "newer_motion")
    assert names(project.run(newer_motion, "motion").decoded) == everything
    assert project.exported("motion") == 4


COUNT_ME = {
    "PyAV, packets": "import av\nwith av.open(PATH) as c:\n  [p.decode() for p in c.demux(c.streams.video[0])]",
    "PyAV, a file object": "import av\nwith open(PATH, 'rb', 0) as f, av.open(f) as c: next(c.decode(video=0))",
    "PyAV, a descriptor": "import av, os\nf = os.fdopen(os.open(PATH, 0), 'rb')\nnext(av.open(f).decode(video=0))",
    "OpenCV, read": "import cv2\ncv2.VideoCapture(PATH).read()",
    "OpenCV, opened later": "import cv2\nc = cv2.VideoCapture()\nc.open(PATH)\nc.grab()",
}
HEADER_ONLY = {
    "PyAV, packets only": "import av\nwith av.open(PATH) as c:\n  assert [p.size for p in c.demux(c.streams.video[0])]",
    "OpenCV, properties only": "import cv2\nassert cv2.VideoCapture(PATH).get(cv2.CAP_PROP_FRAME_COUNT) == 12",
}


@pytest.mark.parametrize(
    ("code", "decodes"),
    [*((code, True) for code in COUNT_ME.values()), *((code, False) for code in HEADER_ONLY.values())],
    ids=[*COUNT_ME, *HEADER_ONLY],
)
def test_the_counter_sees_every_way_to_read_a_video(tmp_path: Path, code: str, decodes: bool) -> None:
    """A counter that sees nothing would make every rerun look free."""
    path = write_video(tmp_path / "clip.mp4", numbered(num_frames=12))
    log = tmp_path / "log"
    environment = {"PYTHONPATH": str(COUNTER), "DECODE_LOG": str(log)}
    subprocess.run([sys.executable, "-c", code.replace("PATH", repr(str(path)))], env=environment, check=True)
    seen = frozenset({str(path)})
    assert read_log(log) == Counted(opened=seen, decoded=seen if decodes else frozenset())
