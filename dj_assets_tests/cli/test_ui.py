"""`dj-assets ui`: where it may be run, and that its two processes live and die together."""

from __future__ import annotations

import _thread
import os
import socket
import threading
import time
from pathlib import Path

import pytest
import yaml

from dj_assets.cli import ui
from dj_assets.cli.console import console
from dj_assets.errors import DjAssetsError, RecipeError


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_projects_own_workspace_comes_first(tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    (tmp_path / "recipes").mkdir()
    assert ui.find_workspace(tmp_path) == tmp_path / "workspace.yaml"


def test_a_folder_with_recipes_gets_a_workspace_of_the_same_location_name(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    own = ui.find_workspace(tmp_path)
    [location] = yaml.safe_load(own.read_text())["load_from"]
    assert location == {"python_module": {"module_name": "dj_assets.definitions", "location_name": "dj_assets"}}


def test_elsewhere_it_says_where_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cd to where"):
        ui.find_workspace(tmp_path)


def test_a_taken_port_is_refused_before_anything_starts(free_port: int) -> None:
    ui.refuse_taken_port("127.0.0.1", free_port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(RecipeError, match=f"--port {free_port + 1}"):
            ui.refuse_taken_port("127.0.0.1", free_port)


def test_ctrl_c_stops_both_processes(free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port}"

    def interrupt_once_up() -> None:
        while "Dagster is at" not in "".join(printed):
            printed.append(capsys.readouterr().out)
            time.sleep(0.05)
        _thread.interrupt_main()

    printed: list[str] = []
    threading.Thread(target=interrupt_once_up, daemon=True).start()
    ui.run_together(console(), _two_servers(free_port), environment=os.environ, url=url, alive="/")
    printed.append(capsys.readouterr().out)
    assert f"Dagster is at {url}" in "".join(printed)
    assert "Stopping Dagster" in "".join(printed)
    ui.refuse_taken_port("127.0.0.1", free_port)  # nobody listens any more


def test_when_one_process_ends_the_other_is_stopped_and_the_first_is_named(free_port: int) -> None:
    commands = {**_two_servers(free_port), "the daemon": ["this_module_does_not_exist"]}
    with pytest.raises(DjAssetsError, match="the daemon ended by itself, with exit code 1"):
        ui.run_together(console(), commands, environment=os.environ, url=f"http://127.0.0.1:{free_port}", alive="/")
    ui.refuse_taken_port("127.0.0.1", free_port)


def _two_servers(port: int) -> dict[str, list[str]]:
    """Two processes of the standard library that run until they are told to stop, the first answering on a port."""
    return {
        "the web interface": ["http.server", str(port), "--bind", "127.0.0.1"],
        "the daemon": ["http.server", "0", "--bind", "127.0.0.1"],
    }
