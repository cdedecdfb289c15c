"""The operator in CONTRIBUTING.md, pasted into a scratch package: with nothing else edited it is there everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import av
import pytest

from dj_assets_tests.videos import numbered, texture, write_video

PAGE = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def named_file(name: str) -> str:
    """The code block that follows a file's name, at the end of a line of the page."""
    [code] = re.findall(rf"`{re.escape(name)}`:\n\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return code


def block(language: str) -> str:
    """The page's only block in a language."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return text


class Scratch:
    """A project with two videos, and a site folder that holds a package with the page's operator, as if installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        [(entry, package)] = tomllib.loads(block("toml"))["project"]["entry-points"]["dj_assets.operators"].items()
        self.write(f"site/{package}/__init__.py", "")
        self.write(f"site/{package}/video_brightness_filter.py", named_file("video_brightness_filter.py"))
        for name in ("video_mirror_mapper.py", "one_per_source_selector.py"):
            self.write(f"site/{package}/{name}", named_file(name))
        info = "site/scratch-1.0.dist-info"
        self.write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: scratch\nVersion: 1.0\n")
        self.write(f"{info}/entry_points.txt", f"[dj_assets.operators]\n{entry} = {package}\n")
        self.write("tests/test_video_brightness_filter.py", named_file("test_video_brightness_filter.py"))
        self.write("recipes/bright.yaml", block("yaml"))
        frames = numbered(num_frames=24)  # frame k is flat grey of 8 * k + 16
        write_video(folder / "dark.mp4", frames[:3], lossless=True)
        write_video(folder / "bright.mp4", frames[20:23], lossless=True)
        lines = [{"text": name, "videos": [f"{name}.mp4"]} for name in ("dark", "bright")]
        self.write("ds.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def python(self, *arguments: str) -> str:
        """Standard output of a fresh Python in the project, where the scratch package is installed."""
        foreign = ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME")
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        environment["PYTHONPATH"] = os.pathsep.join([str(self.site), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dj_assets(self, *arguments: str) -> str:
        """Standard output of the command line."""
        return self.python("-c", "from dj_assets.cli import main; main()", *arguments)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    return Scratch(tmp_path_factory.mktemp("scratch"))


def test_its_own_test_passes(scratch: Scratch) -> None:
    assert "1 passed" in scratch.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")


def test_check_lists_it_with_its_options(scratch: Scratch) -> None:
    shown = scratch.dj_assets("check", "--operators")
    assert "video_brightness_filter" in shown
    assert "min_brightness" in shown


def test_a_recipe_runs_it(scratch: Scratch) -> None:
    scratch.dj_assets("check", "recipes/bright.yaml")
    scratch.dj_assets("process", "--config", "recipes/bright.yaml")
    [kept] = map(json.loads, (scratch.folder / "outputs/bright/res.jsonl").read_text().splitlines())
    [dropped] = map(json.loads, (scratch.folder / "outputs/bright/res_dropped.jsonl").read_text().splitlines())
    # Grey 16, 24 and 32; grey 176, 184 and 192. H.264 keeps grey in steps of its own, so not to the last digit.
    assert (kept["text"], dropped["text"]) == ("bright", "dark")
    assert kept["__dj__stats__"]["video_brightness"] == pytest.approx([184], abs=1.5)
    assert dropped["__dj__stats__"]["video_brightness"] == pytest.approx([24], abs=1.5)


def test_the_asset_graph_has_it(scratch: Scratch) -> None:
    code = (
        "from dj_assets.definitions import defs\n"
        "for key in defs.resolve_asset_graph().get_all_asset_keys(): print(key.to_user_string())"
    )
    assert "bright/stats/video_brightness_filter" in scratch.python("-c", code).split()


def test_the_mapper_and_the_selector_of_the_page_run_in_one_recipe(scratch: Scratch) -> None:
    left = texture(height=32, width=48)
    left[:, 24:] = 16
    for name in ("first", "second"):
        write_video(scratch.folder / f"{name}.mp4", [left] * 6, lossless=True)
    lines = [{"text": name, "source": "film", "videos": [f"{name}.mp4"]} for name in ("first", "second")]
    scratch.write("films.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    recipe = {
        "dataset_path": "films.jsonl",
        "export_path": "outputs/films/res.jsonl",
        "process": [{"one_per_source_selector": None}, {"video_mirror_mapper": None}],
    }
    scratch.write("films.yaml", json.dumps(recipe))
    scratch.dj_assets("process", "--config", "films.yaml")
    [kept] = map(json.loads, (scratch.folder / "outputs/films/res.jsonl").read_text().splitlines())
    [dropped] = map(json.loads, (scratch.folder / "outputs/films/res_stage1_dropped.jsonl").read_text().splitlines())
    assert (kept["text"], dropped["text"]) == ("first", "second")
    assert "of the same source as films.jsonl:1" in json.dumps(dropped)
    with av.open(kept["videos"][0]) as video:
        picture = next(video.decode(video=0)).to_ndarray(format="gray")
    assert picture[:, :24].mean() < 40 < picture[:, 24:].mean()
