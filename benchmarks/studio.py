"""The threshold studio over a million samples in a real browser: how long people wait (`python -m benchmarks.studio`).

The store is synthesised as in `benchmarks.million`, served by `dj-assets tune`, looked at in headless Chromium: from
opening the page to its counts and charts, and from each move of a dragged bound to the picture with the new counts.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.million import RECIPE, synthesise
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets.store.store import Store

MOVES = 60
EVERY_MS = 40
CHECKOUT = Path(__file__).resolve().parents[1]
QUIET = ["disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000, help="videos in the store")
    parser.add_argument("--rounds", type=int, default=3, help="how often the page is opened and each bound dragged")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dj-assets-studio-") as scratch:
        folder = Path(scratch)
        make_store(folder, arguments.videos)
        with served(folder) as (url, load_seconds):
            pages, moves = look(url, arguments.rounds)
    show(arguments.videos, load_seconds, pages, moves)


def make_store(folder: Path, num_videos: int) -> None:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "r.yaml").write_text(RECIPE, encoding="utf-8")
    os.environ["DJ_ASSETS_DEVICE"] = "cpu"
    os.chdir(folder)
    synthesise(make_plan(load_recipe("recipes/r.yaml")), Store(folder / "store"), num_videos)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, float]]:
    """(address, seconds from the command to the served page) of a running studio."""
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "DJ_ASSETS_STORE": str(folder / "store"), "PYTHONPATH": path}
    command = [sys.executable, "-c", "from dj_assets.cli import main; main()", "tune", "recipes/r.yaml", "--port", "0"]
    started_seconds = time.perf_counter()
    running = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    said = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in running.stdout)
    found = next(match for match in said if match)
    try:
        yield found[0], time.perf_counter() - started_seconds
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(30)


def look(url: str, rounds: int) -> tuple[list[float], dict[str, list[float]]]:
    """(seconds until the page was there, per round; bound → milliseconds of each move)."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("needs an installed Chromium")
    pages: list[float] = []
    moves: dict[str, list[float]] = {}
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", *(f"--{word}" for word in QUIET)]
        )
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            started_seconds = time.perf_counter()
            page.goto(url)
            page.locator("body[data-ready]").wait_for()
            pages.append(time.perf_counter() - started_seconds)
            page.wait_for_timeout(1500)
            for option, pixels in (("max_area_ratio", -4), ("min_score", 3), ("min_duration", 3)):
                moves.setdefault(option, []).extend(drag(page, option, pixels))
            page.close()
        browser.close()
    return pages, moves


def drag(page: Any, option: str, pixels: int) -> list[float]:
    """Move a bound step by step; milliseconds from each move's event to the painted counts."""
    handle = page.locator(f".handle[data-option={option}]")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("window.studio.latencies.length = 0")
    for move in range(1, MOVES + 1):
        page.mouse.move(x + pixels * min(move, MOVES - move), y)  # there and back
        page.wait_for_timeout(EVERY_MS)
    found = list(page.evaluate("window.studio.latencies"))
    page.mouse.up()
    page.wait_for_timeout(1000)
    return found


def show(num_videos: int, load_seconds: float, pages: list[float], moves: dict[str, list[float]]) -> None:
    print(f"\n{num_videos:,} samples, five steps; {os.cpu_count()} cores\n")
    print("| what | n | median | 95 % | most |\n|---|---:|---:|---:|---:|")
    print(f"| from the command to the served page, s | 1 | {load_seconds:.1f} | | |")
    print(f"| page open to counts and charts, s | {len(pages)} | {statistics.median(pages):.2f} | | {max(pages):.2f} |")
    for option, found in moves.items():
        cuts = statistics.quantiles(found, n=20)
        line = f"{statistics.median(found):.0f} | {cuts[-1]:.0f} | {max(found):.0f}"
        print(f"| {option} dragged to new counts on screen, ms | {len(found)} | {line} |")


if __name__ == "__main__":
    main()
