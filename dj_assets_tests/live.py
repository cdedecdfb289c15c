"""A small project with a real webserver and a real daemon, started as `dj-assets ui` does and stopped at the end.

with live_project(tmp_path, recipes={"clips": CLIPS}) as live:
    live.graphql("{ version }")
    live.dj_assets("backfill", "recipes/clips.yaml", "--wait")
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from click.testing import CliRunner, Result

from dj_assets.cli import command_line, ui
from dj_assets_tests.videos import numbered, write_video

Found = TypeVar("Found")

CHECKOUT = Path(__file__).resolve().parents[1]
START_SECONDS = 90.0
LOOK_EVERY_SECONDS = 0.2

CLIPS = """\
dataset_path: ds.jsonl
export_path: outputs/{name}/res.jsonl
process:
  - video_duration_filter: {{min_duration: 0.2}}
dj_assets: {{shard_size: 1, evidence: {{kept: 0, dropped: 0}}}}
"""
"""Video n, from 1, has n + 3 frames at 24 fps: 0.2 s drops the first."""

INSTANCE = """\
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {pools: {granularity: op, default_limit: 1}, runs: {max_concurrent_runs: 2}}
run_coordinator:
  module: dagster._core.run_coordinator.queued_run_coordinator
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
run_monitoring: {enabled: true, poll_interval_seconds: 5, free_slots_after_run_end_seconds: 10}
run_retries: {enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false}
"""
"""The project's dagster.yaml with shorter intervals, and the instance's own storage in its DAGSTER_HOME."""

IS_UP = """{
  workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename
    ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}"""


@dataclass
class LiveProject:
    """A project that is being served. log: what webserver, daemon and runs have printed."""

    folder: Path
    home: Path
    url: str
    environment: dict[str, str]
    is_quick: bool = True
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "dagster.log"

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """The `data` of the answer. Fails where the query is refused."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode(errors="replace")) from None
        assert not found.get("errors"), found["errors"]
        return found["data"]

    def wait_for(self, condition: Callable[[], Found], seconds: float = 60.0) -> Found:
        """What the condition returns once that is true. Fails, with the end of the log, where it takes longer."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            late = time.monotonic() > end
            assert not ended and not late, f"{ended or f'{seconds:g} s'}\n{self.log.read_text()[-6000:]}"
            time.sleep(LOOK_EVERY_SECONDS)
        return found

    def dj_assets(self, *arguments: str, **options: Any) -> Result:
        """A command of ours in the project's folder, against its webserver."""
        with self.in_folder():
            result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets", **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    @contextmanager
    def in_folder(self) -> Iterator[None]:
        """This process in the project's folder, with the environment of its webserver."""
        before = dict(os.environ)
        try:
            os.environ.clear()
            os.environ.update(self.environment)
            with chdir(self.folder):
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start(self, name: str) -> None:
        """Start `webserver` or `daemon`, also after it was killed."""
        workspace = ["-w", str(self.folder / ".dj_assets" / "workspace.yaml"), "--log-level", "warning"]
        port = self.url.rpartition(":")[2]
        daemon = "dj_assets_tests.quick_daemon" if self.is_quick else "dagster._daemon"
        modules: Mapping[str, Sequence[str]] = {
            "webserver": ["dagster_webserver", "-h", "127.0.0.1", "-p", port, *workspace],
            "daemon": [daemon, "run", *workspace],
        }
        with self.log.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *modules[name]],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill -9 `webserver` or `daemon`; its code server ends by itself, its runs go on."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def is_up(self) -> bool:
        """Whether the webserver answers, its definitions are loaded and each daemon that must be there is alive."""
        try:
            found = self.graphql(IS_UP)
        except (urllib.error.URLError, OSError):
            return False
        entries = found["workspaceOrError"]["locationEntries"]
        errors = [entry["locationOrLoadError"].get("message") for entry in entries if entry["locationOrLoadError"]]
        assert not any(errors), errors
        daemons = found["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(entry["loadStatus"] == "LOADED" for entry in entries) and all(
            daemon["healthy"] for daemon in daemons if daemon["required"]
        )


def write_videos(folder: Path, num_videos: int) -> None:
    """`vids/clip1.mp4` … and `ds.jsonl`, which lists them. Clip n has n + 3 frames: no two are the same bytes."""
    (folder / "vids").mkdir()
    lines = []
    for number in range(1, num_videos + 1):
        write_video(folder / "vids" / f"clip{number}.mp4", numbered(num_frames=number + 3))
        lines.append(json.dumps({"videos": [f"vids/clip{number}.mp4"]}) + "\n")
    (folder / "ds.jsonl").write_text("".join(lines), encoding="utf-8")


@contextmanager
def live_project(
    folder: Path,
    *,
    recipes: Mapping[str, str] | None = None,
    num_videos: int = 4,
    environment: Mapping[str, str] | None = None,
    instance: str = INSTANCE,
    is_quick: bool = True,
    prepare: Callable[[Path], None] | None = None,
) -> Iterator[LiveProject]:
    """Lay out a project in `folder`, serve it, and stop whatever was started.

    recipes: name → YAML, in which `{name}` is the name; default one, `clips`, of CLIPS. num_videos: see `write_videos`.
    environment: on top of this process's own. instance: the text of dagster.yaml. is_quick: whether the daemon looks
    after backfills every second, not every 30. prepare: gets the folder before anything is started.
    """
    (folder / "recipes").mkdir(parents=True)
    home = folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text(instance, encoding="utf-8")
    write_videos(folder, num_videos)
    for name, text in (recipes or {"clips": CLIPS}).items():
        (folder / "recipes" / f"{name}.yaml").write_text(text.format(name=name), encoding="utf-8")
    if prepare is not None:
        prepare(folder)
    url = f"http://127.0.0.1:{_free_port()}"
    live = LiveProject(folder, home, url, _environment(home, url, environment or {}), is_quick)
    with live.in_folder():
        ui.find_workspace(folder)
        ui._prepare_instance(ui.console(stderr=True))
    try:
        live.start("webserver")
        live.start("daemon")
        live.wait_for(live.is_up, START_SECONDS)
        yield live
    finally:
        ui._stop(live.processes)


def _environment(home: Path, url: str, added: Mapping[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DJ_ASSETS_", "DAGSTER_"))}
    path = os.pathsep.join(filter(None, [added.get("PYTHONPATH") or os.environ.get("PYTHONPATH", ""), str(CHECKOUT)]))
    return {
        **plain,
        "DJ_ASSETS_DEVICE": "cpu",
        "DJ_ASSETS_URL": url,
        **added,
        "PYTHONPATH": path,
        "DAGSTER_HOME": str(home),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
