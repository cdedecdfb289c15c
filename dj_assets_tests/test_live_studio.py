"""The threshold studio in a real browser, by mouse, over real clips that the real detector read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dj_assets.demo import SPACE, TUTORIAL_RECIPES
from dj_assets_tests.videos import cut_short, write_video

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the dev extra")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs an installed Chromium"),
    pytest.mark.weights,
]

CHECKOUT = Path(__file__).resolve().parents[1]
LINES = (0, 1, 2, 3, 4, 5)
"""How many lines of text each clip shows: from no text to too much."""


def page_of_text(num_lines: int) -> np.ndarray:
    """RGB picture, uint8 [192, 320, 3], of so many lines."""
    import cv2

    picture = np.full((192, 320, 3), (70, 90, 60), dtype=np.uint8)
    for line in range(num_lines):
        cv2.putText(picture, "words of this clip", (12, 30 + 34 * line), 0, 0.9, (255, 255, 255), 2, cv2.LINE_AA)
    return picture


def environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DJ_ASSETS_", "DAGSTER_"))}
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), str(CHECKOUT)]))
    return {**plain, "DJ_ASSETS_DEVICE": "cpu", "PYTHONPATH": path}


def dj_assets(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from dj_assets.cli import main; main()", *arguments]


def kept_by_process(project: Path, bound: str) -> int:
    """How many samples `process` keeps with this bound."""
    export = project / "outputs" / "again" / "res.jsonl"
    arguments = (
        "recipes/video_space.yaml",
        "--export_path",
        str(export),
        "--video_ocr_area_ratio_filter.max_area_ratio",
    )
    done = subprocess.run(
        dj_assets("process", *arguments, bound), cwd=project, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 3, done.stdout + done.stderr  # the broken file and the refused one are undecided
    assert re.search(r"video_ocr_area_ratio_filter\s+0\s", done.stdout), "it measured again"
    return len(export.read_text().splitlines())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's recipe over clips with more and more text, a broken one, and one outside the dataset's folder."""
    folder = tmp_path_factory.mktemp("studio") / "project"
    (folder / "videos").mkdir(parents=True)
    (folder / "recipes").mkdir()
    for lines in LINES:
        write_video(folder / "videos" / f"lines{lines}.mp4", [page_of_text(lines)] * 12)
    cut_short(folder / "videos" / "lines3.mp4", folder / "videos" / "broken.mp4")
    shutil.copy(folder / "videos" / "lines1.mp4", folder.parent / "secret.mp4")
    names = [*(f"videos/lines{lines}.mp4" for lines in LINES), "videos/broken.mp4", "../secret.mp4"]
    (folder / "ds.jsonl").write_text("".join(json.dumps({"videos": [name], "text": name}) + "\n" for name in names))
    (folder / "recipes" / "video_space.yaml").write_text(TUTORIAL_RECIPES[SPACE])
    subprocess.run(dj_assets("process", "recipes/video_space.yaml"), cwd=folder, env=environment(), check=False)
    assert (folder / "outputs" / "video_space_output" / "res.jsonl").is_file()
    return folder


@pytest.fixture
def url(project: Path) -> Iterator[str]:
    running = subprocess.Popen(
        dj_assets("tune", "recipes/video_space.yaml", "--port", "0"),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    found = None
    for line in running.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            break
    assert found, "it never said where it listens"
    yield found[0]
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0


@pytest.fixture
def requests_made() -> list[str]:
    return []


@pytest.fixture
def page(requests_made: list[str]) -> Iterator[Any]:
    quiet = ["disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run"]
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *(f"--{word}" for word in quiet)]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        page.on("request", lambda request: requests_made.append(request.url))
        page.on("pageerror", lambda error: requests_made.append(f"error: {error}"))
        yield page
        browser.close()


def drag_to(page: Any, option: str, value: float) -> None:
    """Drag a handle to a value, by the axis that the page shows."""
    handle = page.locator(f".handle[data-option={option}]")
    box, plot = handle.bounding_box(), page.locator(".panel .plot").first.bounding_box()
    axis = page.evaluate("[...window.studio.page.panels.values()][0].axis")
    left, right = page.evaluate("[MARGIN.l, MARGIN.r]")
    share = (value - axis["low"]) / (axis["high"] - axis["low"])
    target = plot["x"] + left + share * (plot["width"] - left - right)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(target, box["y"] + 40, steps=12)
    page.mouse.up()


def wait_until(page: Any, expression: str) -> None:
    """Poll from outside: the page's own policy forbids the `eval` of Playwright's wait_for_function."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


def look(page: Any, name: str) -> None:
    if folder := os.environ.get("DJ_ASSETS_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_bound_is_dragged_looked_at_fitted_and_saved(
    project: Path, url: str, page: Any, requests_made: list[str]
) -> None:
    page.goto(url)
    page.locator("body[data-ready]").wait_for()
    kept = page.locator("#kept")
    before = int(kept.inner_text())
    assert before == len((project / "outputs" / "video_space_output" / "res.jsonl").read_text().splitlines())
    assert page.locator("#undecided").inner_text() == "2"

    drag_to(page, "max_area_ratio", 0.3)
    bound = page.locator("input[data-option=max_area_ratio]").input_value()
    assert abs(float(bound) - 0.3) < 0.005
    wait_until(page, f"document.getElementById('kept').textContent !== '{before}'")
    assert int(kept.inner_text()) == kept_by_process(project, bound) > before

    wait_until(page, "[...document.querySelectorAll('#near-kept img')].some(image => image.naturalWidth > 100)")
    page.wait_for_function(
        "[...document.querySelectorAll('#near-dropped img')].some(image => image.naturalWidth > 100)"
    )
    look(page, "studio")
    page.locator("#near-dropped .shown").first.click()
    wait_until(page, "document.querySelector('#detail img')?.naturalWidth > 300")
    wait_until(page, "document.querySelector('#detail video')?.readyState >= 1")
    look(page, "studio-detail")
    page.locator("#detail .close").click()

    page.locator("#near-kept .marks .keep").first.click()
    page.locator("#near-dropped .marks .drop").first.click()
    page.locator("#marks", has_text="2 marked").wait_for()
    page.locator("#fit").click()
    page.locator("#proposal", has_text="recall 100 %").wait_for()

    page.locator("#save").click()
    page.locator("#save-changes li").wait_for()
    assert page.locator("#save-changes li").inner_text().endswith(f"max_area_ratio: 0.2 → {float(bound):g}")
    page.locator("#save-confirm").click()
    page.locator("#toast.good").wait_for()
    expected = TUTORIAL_RECIPES[SPACE].replace("max_area_ratio: 0.2", f"max_area_ratio: {float(bound):g}")
    assert (project / "recipes" / "video_space.yaml").read_text() == expected

    with pytest.raises(urllib.error.HTTPError, match="403"):  # the file outside the dataset's folder
        urllib.request.urlopen(f"{url}/media/{len(LINES) + 1}")
    assert not [asked for asked in requests_made if not asked.startswith((url, "data:", "blob:"))]
