"""`dj-assets ui`: Dagster's web interface and daemon on this project, started and stopped together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dj_assets.cli.console import console, counted, print_lines
from dj_assets.cli.interrupts import other_signals_as_ctrl_c
from dj_assets.cli.verbosity import is_verbose, quiet_libraries, verbose_option
from dj_assets.errors import DjAssetsError, RecipeError

if TYPE_CHECKING:
    from rich.console import Console

LOOK_EVERY_SECONDS = 0.25
START_SECONDS = 120.0
STOP_SECONDS = 20.0

OWN_WORKSPACE = """\
# Written by `dj-assets ui` for a project without a workspace.yaml of its own.
load_from:
  - python_module:
      module_name: dj_assets.definitions
      location_name: dj_assets
"""


@click.command(
    name="ui",
    epilog="""\b
Examples:
  dj-assets ui
  dj-assets ui --port 3001

\b
Exit codes:
  0    stopped by Ctrl-C or SIGTERM
  1    one of the two processes ended by itself
  2    not in a project's folder, or the port is taken
""",
)
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@verbose_option
def command(port: int, host: str) -> None:
    """Start Dagster's web interface and its daemon.

    They show this project's assets and run what is launched there. Run it in the project's folder: the one with
    workspace.yaml, or with recipes. Ctrl-C stops both.
    """
    err = console(stderr=True)
    workspace = find_workspace(Path.cwd())
    refuse_taken_port(host, port)
    with other_signals_as_ctrl_c(), quiet_libraries(lambda line: print_lines(err, [line])):
        home = _prepare_instance(err)
        if host not in ("127.0.0.1", "localhost", "::1"):
            print_lines(err, [f"warning: Dagster asks nobody for a password, and {host} can be reached by others"])
        _serve(console(), workspace, home, host=host, port=port)


def find_workspace(folder: Path) -> Path:
    """The folder's workspace.yaml; one of our own, under .dj_assets, where it has recipes but no workspace."""
    given = folder / "workspace.yaml"
    if given.is_file():
        return given
    if not (folder / "recipes").is_dir():
        raise RecipeError(
            f"there is no workspace.yaml and no folder recipes in {folder}",
            allowed="a project's folder: one that has workspace.yaml, or recipes/*.yaml",
            try_="cd to where the project's workspace.yaml lies, and run it there",
        )
    own = folder / ".dj_assets" / "workspace.yaml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(OWN_WORKSPACE, encoding="utf-8")
    return own


def refuse_taken_port(host: str, port: int) -> None:
    """Raise where nobody can listen on that address, before anything is started."""
    try:
        [family, *_, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As uvicorn does: a port that is only winding down (TIME_WAIT) is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise RecipeError(
            f"cannot listen on port {port} of {host}: {error.strerror or error}",
            allowed="a free port, on an address of this machine",
            try_=f"dj-assets ui --port {port + 1 if port < 65535 else 3000}, if something else listens there",
        ) from None


# --- the instance


def _prepare_instance(err: Console) -> Path:
    """Make the instance's tables, its pool limits and the partitions of every recipe. Returns DAGSTER_HOME.

    Before the two processes start: on a new SQLite instance both would make the tables, and one of them would die.
    """
    from dj_assets.defs.project import dagster_home
    from dj_assets.defs.resources import project_instance, set_pool_limits

    home = dagster_home()
    with project_instance() as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        set_pool_limits(instance)
        for line in _register_shards(instance):
            print_lines(err, [line])
    return home


def _register_shards(instance: object) -> Iterator[str]:
    """Register the shards of each recipe that has a dataset. Yields a line for each that has none, or is broken."""
    from dj_assets.defs.partitions import register_shards
    from dj_assets.defs.project import project_root, recipe_paths
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    for path in recipe_paths(project_root()):
        try:
            plan = make_plan(load_recipe(path))
            if plan.recipe.settings.landing.watch:  # what has landed may not be complete yet
                yield f"{plan.recipe.name}: its sensor looks at {plan.recipe.dataset_path}"
                continue
            shards = register_shards(instance, plan)  # type: ignore[arg-type]
        except RecipeError as error:
            yield f"warning: {path.name}: {error.one_line()}"
        except Exception as error:  # in an operator's module: the asset graph shows it and keeps the other recipes
            yield f"warning: {path.name}: {type(error).__name__}: {error}"
        else:
            yield f"{plan.recipe.name}: {counted(len(shards), 'shard')}"


# --- the two processes


def _serve(out: Console, workspace: Path, home: Path, *, host: str, port: int) -> None:
    level = "info" if is_verbose() else "warning"
    common = ["-w", str(workspace), "--log-level", level, "--code-server-log-level", level]
    commands = {
        "the web interface": ["dagster_webserver", "-h", host, "-p", str(port), "--dagster-log-level", level, *common],
        "the daemon": ["dagster._daemon", "run", *common],
    }
    url = f"http://{_address(host)}:{port}"
    run_together(out, commands, environment={**os.environ, "DAGSTER_HOME": str(home)}, url=url, alive="/server_info")


def run_together(
    out: Console, commands: Mapping[str, Sequence[str]], *, environment: Mapping[str, str], url: str, alive: str
) -> None:
    """Run Python modules until the user ends them. alive: path under `url` that answers once they are up.

    Raises `DjAssetsError` where one of them ends by itself, after the others were stopped.
    """
    print_lines(out, ["Starting Dagster ..."])
    with _processes(commands, environment) as running:
        try:
            _wait_until_up(url + alive, running)
            print_lines(out, [f"Dagster is at {url} (Ctrl-C stops it)"])
            while True:
                _raise_if_ended(running)
                time.sleep(LOOK_EVERY_SECONDS)
        except KeyboardInterrupt:
            print_lines(out, ["Stopping Dagster ..."])


def _address(host: str) -> str:
    """The host as a browser on this machine wants it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{shown}]" if ":" in shown else shown


# --- processes


Processes = Mapping[str, "subprocess.Popen[bytes]"]
"""What people call it -> the process."""


@contextmanager
def _processes(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Iterator[Processes]:
    """Start Python modules with their arguments, each in a session of its own, and stop them all at the end.

    A session of its own keeps the terminal's Ctrl-C from them: stopped twice, by it and by us, they leave tracebacks.
    """
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, arguments in commands.items():
            running[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments], env=dict(environment), start_new_session=True
            )
        yield running
    finally:
        _stop(running)


def _stop(running: Processes) -> None:
    """End the processes, and then what they started: code servers, and runs that are still at work."""
    _send(running, signal.SIGTERM, to_group=False)
    _wait(lambda: all(process.poll() is not None for process in running.values()))
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _send(running, number, to_group=True):
            return
        _wait(lambda: not _send(running, 0, to_group=True))


def _send(running: Processes, number: int, *, to_group: bool) -> bool:
    """Send a signal to each process, or to its whole session. Returns whether anybody was there; 0 only asks."""
    found = False
    for process in running.values():
        process.poll()  # reaps one that has ended, which would count as somebody otherwise
        try:
            if to_group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            found = True
        except ProcessLookupError:
            continue
    return found


def _wait(is_over: Callable[[], bool], *, seconds: float = STOP_SECONDS) -> None:
    """Return when it is over, at the latest after so many seconds."""
    end = time.monotonic() + seconds
    while not is_over() and time.monotonic() < end:
        time.sleep(LOOK_EVERY_SECONDS)


def _raise_if_ended(running: Processes) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            raise DjAssetsError(
                f"{name} ended by itself, with exit code {process.returncode}",
                try_="read its last lines above; dj-assets ui --verbose shows more of them",
            )


def _wait_until_up(url: str, running: Processes) -> None:
    """Return when the web interface answers. Raises `DjAssetsError` where one process ends, or it takes too long."""
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # a proxy knows nothing of this machine's ports
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        _raise_if_ended(running)
        try:
            with direct.open(url, timeout=LOOK_EVERY_SECONDS * 8):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(LOOK_EVERY_SECONDS)
    raise DjAssetsError(
        f"the web interface did not answer at {url} within {START_SECONDS:g} s",
        try_="dj-assets ui --verbose shows what it is doing",
    )
