"""A morning in Dagster's web interface, by mouse, in a real browser: the graph, one shard, a backfill of which two
shards fail, a fix, and the retry."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dj_assets_tests.live import LiveProject, live_project

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the dev extra")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium")

SHARDS = 20
PLANTED = """
\"\"\"Number of frames; at fault where a file beside this one says so.\"\"\"
from pathlib import Path
from dj_assets.operators._contract import Bound, NoParams, Operator, Stat

def read(info, params):
    if str(info.num_frames_from_scan) in Path(__file__).with_name("faults.txt").read_text().split():
        raise RuntimeError("the planted fault")
    return (float(info.num_frames_from_scan),)

OPERATOR = Operator(
    name="video_planted_filter", version=1, summary="number of frames", compute="header", params=NoParams,
    stats=(Stat("video_planted", unit="frames"),), bounds=(Bound("min_planted", "video_planted", "min", 0.0, help=""),),
    read=read,
)
"""
CLIPS = """\
dataset_path: ds.jsonl
export_path: outputs/{name}/res.jsonl
process:
  - video_duration_filter: {{min_duration: 0.3}}
  - video_planted_filter: {{min_planted: 0}}
dj_assets: {{shard_size: 1, owners: ["team:clips"]}}
"""
"""Clip n has n + 3 frames at 24 fps: the first four are too short."""

FAULTS = "7 12"

BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id status } } } }"
RUNS = "{ runsOrError { ... on Runs { results { status } } } }"


@pytest.fixture
def live(tmp_path: Path, operator_package: Path) -> Iterator[LiveProject]:
    (operator_package / "video_planted_filter.py").write_text(PLANTED)
    (operator_package / "faults.txt").write_text(FAULTS)
    site = str(operator_package.parent)
    with live_project(
        tmp_path / "p", recipes={"clips": CLIPS}, num_videos=SHARDS, environment={"PYTHONPATH": site}
    ) as live:
        yield live


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    quiet = ["disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run"]
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *(f"--{word}" for word in quiet)]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


class Looking:
    """The pages of one recipe. Pictures of them go where DJ_ASSETS_SCREENSHOTS says, or beside the project."""

    def __init__(self, live: LiveProject, page: Any) -> None:
        self.live = live
        self.page = page
        self.pictures = Path(os.environ.get("DJ_ASSETS_SCREENSHOTS") or live.folder.parent / "screenshots")
        self.pictures.mkdir(parents=True, exist_ok=True)

    def graph(self) -> None:
        self.page.goto(f"{self.live.url}/locations/__repository__@dj_assets/asset-groups/clips/lineage")
        self.page.get_by_text("video_planted_filter").first.wait_for()

    def open_launcher(self) -> None:
        self.page.get_by_role("button", name="Materialize all").first.click()
        self.page.get_by_text("Partition selection").wait_for()

    def partitions(self, asset: str) -> None:
        self.page.goto(f"{self.live.url}/assets/{asset}?view=partitions")
        self.page.get_by_text("Materialized (").wait_for()

    def picture(self, name: str) -> None:
        self.page.wait_for_timeout(1500)  # charts are drawn in steps
        self.page.screenshot(path=str(self.pictures / f"{name}.png"))


def backfill_status(live: LiveProject) -> dict[str, str]:
    """Of the newest backfill."""
    [newest, *_] = live.graphql(BACKFILLS)["partitionBackfillsOrError"]["results"] or [{"id": "", "status": ""}]
    return newest


def run_statuses(live: LiveProject) -> list[str]:
    return [run["status"] for run in live.graphql(RUNS)["runsOrError"]["results"]]


def test_a_morning_in_the_web_interface(live: LiveProject, page: Any, operator_package: Path) -> None:
    look = Looking(live, page)
    look.graph()
    for asset in ("samples", "video_duration_filter", "video_planted_filter", "filtered", "export"):
        assert page.get_by_text(asset, exact=True).first.is_visible()
    look.picture("graph-before")

    look.open_launcher()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_text("ds-00000", exact=True).first.click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    live.wait_for(lambda: run_statuses(live) == ["SUCCESS"], 90)

    look.graph()
    look.open_launcher()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Launch backfill").click()
    live.wait_for(lambda: backfill_status(live)["status"] == "COMPLETED_FAILED", 420)
    look.partitions("clips/stats/video_planted_filter")
    page.get_by_text("Materialized (18)").wait_for()
    page.get_by_text("Failed (2)").wait_for()
    look.picture("partitions-failed")
    failed = backfill_status(live)["id"]

    (operator_package / "faults.txt").write_text("")
    page.goto(f"{live.url}/runs/b/{failed}")
    page.get_by_text("Asset name").wait_for()
    page.locator("button:has([aria-label='expand_more'])").last.click()
    page.get_by_text("Re-execute from failure").first.click()
    live.wait_for(lambda: backfill_status(live)["id"] != failed, 30)
    live.wait_for(lambda: backfill_status(live)["status"] == "COMPLETED_SUCCESS", 240)
    for asset in ("stats/video_planted_filter", "export"):
        look.partitions(f"clips/{asset}")
        page.get_by_text("Materialized (20)").wait_for()
        page.get_by_text("Failed (0)").wait_for()
    look.picture("partitions")

    page.get_by_text("ds-00007", exact=True).first.click()
    look.picture("partition")
    page.goto(f"{live.url}/assets/clips/stats/video_planted_filter?view=overview")
    page.get_by_text("Show Markdown").first.wait_for()
    look.picture("asset")
    page.goto(f"{live.url}/assets/clips/stats/video_duration_filter?view=events")
    page.get_by_text("Show Markdown").first.click()
    page.locator("img[src^='data:image/svg']").first.wait_for()
    assert page.locator("img[src^='data:image/svg']").first.evaluate("image => image.naturalWidth") > 100
    look.picture("histogram")
    page.goto(f"{live.url}/assets/clips/filtered?view=checks")
    page.get_by_text("verdicts_equal_samples").first.wait_for()
    look.picture("checks")
    look.graph()
    look.picture("graph")
    export = live.folder / "outputs" / "clips" / "res.jsonl"
    kept = [json.loads(line)["videos"][0] for line in export.read_text().splitlines()]
    assert [Path(video).name for video in kept] == [f"clip{number}.mp4" for number in range(5, SHARDS + 1)]
