"""How many videos are decoded again after each change that leads to a rerun: `python -m benchmarks.reruns`.

Beside it the same for py-data-juicer where `python benchmarks/peer.py` has built it. Both are counted from outside, by
`decode_counter/sitecustomize.py` in every process that they start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import peer

ROOT = Path(__file__).resolve().parent.parent
COUNTER = ROOT / "benchmarks" / "decode_counter"
MEDIA = ROOT.parent / "shared" / "media"
RUN = "from dj_assets.cli import main; main()"

MOTION, OCR, DURATION = "video_motion_score_filter", "video_ocr_area_ratio_filter", "video_duration_filter"


@dataclass(frozen=True)
class Program:
    """A command that processes a recipe, whose path comes last, and what it needs in its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    import_first: Path | None = None


@dataclass(frozen=True)
class Counted:
    """What one run touched, by path. A video is decoded once a frame of it came out, opened even for its header."""

    opened: frozenset[str]
    decoded: frozenset[str]


class Project:
    """A folder with videos, a manifest of one video a line, and recipes; what a person changes between two runs."""

    def __init__(self, folder: Path, videos: Iterable[Path], recipes: Mapping[str, list[dict[str, Any]]]) -> None:
        """videos: copied into the folder. recipes: name -> its `process` list."""
        self.folder = folder
        self.rows: list[str] = []
        self.recipes = {name: {"np": 1, "process": deepcopy(process)} for name, process in recipes.items()}
        for video in videos:
            self.append(video)

    def append(self, video: Path) -> None:
        """One more line, for a video brought from elsewhere."""
        target = self._place(f"vids/{video.name}")
        shutil.copyfile(video, target)
        self._settle(target)
        self.rows.append(f"vids/{video.name}")

    def move(self, row: int, to: str) -> None:
        """Rename a line's video, or move it to another folder."""
        (self.folder / self.rows[row]).rename(self._place(to))
        self.rows[row] = to

    def copy(self, row: int, to: str) -> None:
        """One more line, for a copy of a video that is there."""
        target = self._place(to)
        shutil.copyfile(self.folder / self.rows[row], target)
        self._settle(target)
        self.rows.append(to)

    def set_option(self, recipe: str, operator: str, **options: Any) -> None:
        """Change an operator's options."""
        for step in self.recipes[recipe]["process"]:
            if operator in step:
                step[operator].update(options)

    def run(self, program: Program, recipe: str) -> Counted:
        """Process one recipe. Raises subprocess.CalledProcessError, its output printed, where that fails."""
        command, environment = self.ready(program, recipe, counted=True)
        log = Path(environment["DECODE_LOG"])
        log.unlink(missing_ok=True)
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        done.check_returncode()
        return read_log(log)

    def ready(self, program: Program, recipe: str, *, counted: bool) -> tuple[list[str], dict[str, str]]:
        """The command that processes a recipe, which is written, in the project's folder; and its whole environment.

        counted: with the decode counter, which appends to the file that the environment's DECODE_LOG names.
        """
        path = self._save(recipe)
        first = [str(program.import_first)] if program.import_first else []
        environment = {**os.environ, **program.environment}
        if counted:
            first.insert(0, str(COUNTER))
            environment["DECODE_LOG"] = str(self.folder / "decoded.log")
        if inherited := environment.get("PYTHONPATH"):
            first.append(inherited)
        environment["PYTHONPATH"] = os.pathsep.join(first)
        return [*program.command, str(path)], environment

    def exported(self, recipe: str) -> int:
        """Lines of a recipe's export."""
        return len((self.folder / "outputs" / recipe / "res.jsonl").read_text(encoding="utf-8").splitlines())

    def _save(self, recipe: str) -> Path:
        lines = [json.dumps({"text": "<__dj__video>", "videos": [row]}) + "\n" for row in self.rows]
        (self.folder / "ds.jsonl").write_text("".join(lines), encoding="utf-8")
        path = self._place(f"recipes/{recipe}.yaml")
        export = {"dataset_path": "ds.jsonl", "export_path": f"outputs/{recipe}/res.jsonl"}
        path.write_text(json.dumps({**export, **self.recipes[recipe]}, indent=1), encoding="utf-8")  # JSON is YAML
        return path

    def _place(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @staticmethod
    def _settle(video: Path) -> None:
        """Date a file a minute back: one that was written just now is, rightly, not trusted to be finished."""
        os.utime(video, ns=(video.stat().st_atime_ns, video.stat().st_mtime_ns - 60 * 10**9))


def read_log(log: Path) -> Counted:
    """What the counter wrote; nothing where no counted process opened anything."""
    text = log.read_text(encoding="utf-8", errors="surrogateescape") if log.exists() else ""
    events = [line.split("\t") for line in text.splitlines()]
    opened, decoded = (frozenset(path for kind, _, path in events if kind == name) for name in ("opened", "decoded"))
    return Counted(opened, decoded)


def ours() -> Program:
    """`dj-assets process` of this checkout."""
    return Program((sys.executable, "-c", RUN, "process"), {"DJ_ASSETS_DEVICE": "cpu"}, import_first=ROOT)


def with_raised_version(program: Program, operator: str, folder: Path) -> Program:
    """The same from a copy of the package in which somebody raised the version of one operator."""
    shutil.copytree(ROOT / "dj_assets", folder / "dj_assets", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "dj_assets" / "operators" / f"{operator}.py"
    text, changes = re.subn(
        r"\bversion=(\d+)", lambda match: f"version={int(match[1]) + 1}", path.read_text(encoding="utf-8")
    )
    if changes != 1:
        raise ValueError(f"{path} states a version {changes} times, expected once")
    path.write_text(text, encoding="utf-8")
    return replace(program, import_first=folder)


def theirs(found: peer.Peer, caches: Path) -> Program:
    """`dj-process` of the peer, its caches in a folder of this comparison."""
    environment = {**found.environment(), "HF_HOME": str(caches), "HF_DATASETS_CACHE": str(caches / "datasets")}
    return Program((str(found.process), "--config"), environment)


# --- the comparison ---------------------------------------------------------------------------------------------------

RECIPES: dict[str, list[dict[str, Any]]] = {
    "time": [{MOTION: {"min_score": 2.0}}],
    "space": [{OCR: {"max_area_ratio": 0.2, "frame_sample_num": 3}}],
    "other": [{MOTION: {"min_score": 0.5, "sampling_fps": 4}}, {DURATION: {"min_duration": 0.1}}],
}
VERSION, SECOND = "version of the motion operator raised", "second recipe, same motion measure"


def changes(third_video: Path) -> dict[str, Callable[[Project], None]]:
    """What is done before each run, in order; each stays in place for the next."""

    def bound(project: Project) -> None:
        project.set_option("time", MOTION, min_score=1.0)
        project.set_option("space", OCR, max_area_ratio=0.3)

    def np(project: Project) -> None:
        for recipe in project.recipes.values():
            recipe["np"] = 2

    return {
        "first run": lambda project: None,
        "identical rerun": lambda project: None,
        "bound moved": bound,
        "np 1 -> 2": np,
        "file renamed": lambda project: project.move(0, "vids/renamed.mp4"),
        "file moved to another folder": lambda project: project.move(0, "elsewhere/renamed.mp4"),
        "row appended: a copy of a video": lambda project: project.copy(1, "vids/copy.mp4"),
        "row appended: a new video": lambda project: project.append(third_video),
        "sampling_fps 2 -> 4": lambda project: project.set_option("time", MOTION, sampling_fps=4),
        VERSION: lambda project: None,
        SECOND: lambda project: None,
    }


def measure(project: Project, program: Program, recipes: Sequence[str], third_video: Path, *, raised: Program | None):
    """(change, decodes per recipe) as they come. raised: the program with a newer operator, None where it has none."""
    for name, change in changes(third_video).items():
        change(project)
        if name == VERSION:
            if raised is None:
                yield name, None
                continue
            program = raised
        asked = ["other"] if name == SECOND else recipes
        yield name, [len(project.run(program, recipe).decoded) for recipe in asked]


def with_job_id(project: Project, program: Program, third_video: Path) -> list[str]:
    """What the peer does when it is told to go on with the same job: lines to print."""
    program = replace(program, command=(program.command[0], "--job_id", "again", "--config"))
    project.set_option("time", MOTION, min_score=0.0)
    first, again = (len(project.run(program, "time").decoded) for _ in range(2))
    project.append(third_video)
    appended = len(project.run(program, "time").decoded)
    return [
        f"py-data-juicer with one --job_id for all runs: first run {first}, identical rerun {again}, "
        f"a row appended {appended}; the export then had {project.exported('time')} of {len(project.rows)} rows, "
        "all of which pass."
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peer", action="store_true", help="leave py-data-juicer out")
    parser.add_argument("--no-ocr", action="store_true", help="leave the recipe that runs CRAFT out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reruns-") as scratch:
        compare(Path(scratch), recipes=["time"] if given.no_ocr else ["time", "space"], with_peer=not given.no_peer)


def compare(folder: Path, *, recipes: Sequence[str], with_peer: bool) -> None:
    """Run everything; print lines as they come, then the table."""
    first, third = clips(folder / "clips")
    program = ours()
    raised = with_raised_version(program, MOTION, folder / "raised")
    print("videos decoded per recipe, dj_assets:", flush=True)
    table = _column(measure(Project(folder / "ours", first, RECIPES), program, recipes, third, raised=raised))
    found = peer.find() if with_peer else None
    peers: dict[str, str] = {}
    notes: list[str] = []
    if found:
        print("videos decoded, py-data-juicer:", flush=True)
        program = theirs(found, folder / "caches")
        peers = _column(measure(Project(folder / "theirs", first, RECIPES), program, ["time"], third, raised=None))
        notes = with_job_id(Project(folder / "job", first, RECIPES), theirs(found, folder / "caches-job"), third)
    elif with_peer:
        notes = ["py-data-juicer is not built here: python benchmarks/peer.py, then again"]
    print("\n" + "\n".join(_markdown(table, peers, recipes)), *notes, sep="\n")


def clips(folder: Path) -> tuple[list[Path], Path]:
    """Two videos to begin with, the tutorial's where they are, and a third that is appended later."""
    from dj_assets_tests.videos import shifting, texture, write_video

    folder.mkdir(parents=True)
    made = []
    for number in (1, 2, 3):
        frames = shifting(texture(height=180, width=320, seed=number), num_frames=72, pixels_per_frame=number)
        made.append(write_video(folder / f"made{number}.mp4", frames, fps=24))
    tutorial = [MEDIA / "video1.mp4", MEDIA / "video2.mp4"]
    return (tutorial if all(path.exists() for path in tutorial) else made[:2]), made[2]


def _column(measured: Iterable[tuple[str, list[int] | None]]) -> dict[str, str]:
    column = {}
    for name, counts in measured:
        column[name] = "-" if counts is None else ", ".join(map(str, counts))
        print(f"  {name}: {column[name]}", flush=True)
    return column


def _markdown(table: Mapping[str, str], peers: Mapping[str, str], recipes: Sequence[str]) -> Iterable[str]:
    yield f"| change before the run | dj_assets ({', '.join(recipes)}) | py-data-juicer 1.6.1 (time) |"
    yield "| --- | --- | --- |"
    for name, cell in table.items():
        yield f"| {name} | {cell} | {peers.get(name, 'not measured')} |"


if __name__ == "__main__":
    main()
