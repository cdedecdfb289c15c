"""`dj-assets tune`: the threshold studio, a local page over the store's numbers."""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import TYPE_CHECKING

import click

from dj_assets.cli.arguments import TAKES_OVERRIDES, read_arguments, recipe_arguments
from dj_assets.cli.console import console, counted, print_lines
from dj_assets.cli.interrupts import other_signals_as_ctrl_c
from dj_assets.errors import DjAssetsError, RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from dj_assets.columns import Columns
    from dj_assets.plan import Plan
    from dj_assets.store.store import Store

PORTS = range(3210, 3230)
"""The first that is free is taken, so that several studios may be open."""


@click.command(
    name="tune",
    context_settings=TAKES_OVERRIDES,
    epilog="""\b
Examples:
  dj-assets tune recipes/video_space.yaml
  dj-assets tune recipes/video_space.yaml --open

\b
Exit codes:
  0    stopped by Ctrl-C or SIGTERM
  1    the store cannot be read, or the port is taken
  2    the recipe cannot be right, or there is neither a run of it nor a dataset
""",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port to listen on; default a free one from 3210."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others than this machine's own let others in.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--stage",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Of a recipe with mappers: the filters before the N-th mapper; default those after the last.",
)
@recipe_arguments
def command(
    configs: tuple[str, ...],
    tokens: tuple[str, ...],
    port: int | None,
    host: str,
    open_browser: bool,
    stage: int | None,
) -> None:
    """Move a recipe's bounds on a page and see at once what they would keep.

    Shows every stored number of the recipe: histograms with bounds to drag, what is kept by each step and together, the
    clips nearest a bound with their pictures. Decodes nothing but the pictures that are looked at. Saving writes the
    bounds, and nothing else, into the recipe's file.
    """
    import uvicorn

    from dj_assets.defs.project import store_root
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe
    from dj_assets.recipe.rewrite import read_recipe_text
    from dj_assets.store.store import Store
    from dj_assets.studio.server import Studio, make_app
    from dj_assets.studio.session import Session

    out = console()
    path, overrides = read_arguments(configs, tokens)
    _refuse_overrides(path, overrides)
    text = read_recipe_text(path)
    plan = _stage(make_plan(load_recipe(path)), stage)
    listening = _listen(host, port)
    store = Store(store_root())
    studio = Studio(Session(plan, _columns(plan, store, out), store), text)
    address = listening.getsockname()
    url = f"http://{f'[{host}]' if ':' in host else host}:{address[1]}"
    print_lines(out, [f"Threshold studio of {plan.recipe.name} on {url} (Ctrl-C stops it)", *_warnings(host)])
    print_lines(
        out, [f"note: {step.key} looks at the whole dataset and is in none of the counts" for step in plan.whole_steps]
    )
    if open_browser:
        click.launch(url)
    config = uvicorn.Config(make_app(studio, hosts=_hosts(host)), log_level="warning", access_log=False)
    with other_signals_as_ctrl_c():
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass  # how it is stopped
        finally:
            listening.close()


def _refuse_overrides(path: str, overrides: tuple[str, ...]) -> None:
    if overrides:
        raise RecipeError(
            f"overrides were given: {' '.join(overrides)}",
            allowed="a recipe as its file is, since bounds are written back into it",
            try_=f"dj-assets tune {path}, and move the bounds there",
            file="command line",
        )


def _stage(plan: Plan, number: int | None) -> Plan:
    """The stage to tune. Raises `RecipeError` where there is none of that number, or it has no filter."""
    stages = plan.stages
    chosen = stages[-1] if number is None else stages[number - 1] if number <= len(stages) else None
    if chosen is not None and (chosen.steps or len(stages) == 1):
        return chosen
    tunable = [str(n) for n, one in enumerate(stages, start=1) if one.steps]
    raise RecipeError(
        f"stage {number or len(stages)} of {plan.recipe.file} "
        + ("has no filter" if chosen is not None else f"does not exist: it has {len(stages)}"),
        allowed=f"--stage {' or '.join(tunable)}" if tunable else "a recipe with filters",
        try_=f"dj-assets tune {plan.recipe.file} --stage {tunable[-1]}" if tunable else "add a filter to it",
        file="command line",
    )


def _columns(plan: Plan, store: Store, out: Console) -> Columns:
    """Every sample of the recipe's runs with what is known of it; of its dataset, where it was never run, since other
    recipes may have measured the same. Raises `RecipeError` where there is neither."""
    from dj_assets.cli.diff_samples import read_dataset
    from dj_assets.columns import columns_of, stored_columns

    started_seconds = time.perf_counter()
    found, source = stored_columns(plan, store), f"read from {store.root}"
    if not found.num_samples and plan.made_by is not None:
        raise RecipeError(
            f"{plan.made_by.key} has made no samples of {plan.recipe.family} yet",
            allowed="a recipe with mappers that was run",
            try_=f"dj-assets process {plan.recipe.file}; or --stage 1, whose samples are the dataset's",
            file="command line",
        )
    if not found.num_samples:
        found = columns_of(plan, store, read_dataset(plan, store, {}))
        source = f"of {plan.recipe.dataset_path}, since {plan.recipe.name} was never run"
    seconds = time.perf_counter() - started_seconds
    print_lines(out, [f"{counted(found.num_samples, 'sample')} {source}, in {seconds:.1f} s"])
    return found


def _listen(host: str, port: int | None) -> socket.socket:
    """A listening socket, bound before anything is read: a taken port is said at once."""
    ports = PORTS if port is None else [port]
    for wanted in ports:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, wanted), family=family)
        except OSError as error:
            fault = error
    raise DjAssetsError(
        f"cannot listen on {host}, port {' to '.join(str(p) for p in dict.fromkeys((ports[0], ports[-1])))}: "
        f"{fault.strerror or fault}",
        allowed="an address of this machine and a free port",
        try_="--port 0, which takes any free one",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(host: str) -> list[str]:
    """Names under which the studio may be asked. Another name that leads here is a trick of some other page."""
    if _is_loopback(host):
        return ["127.0.0.1", "localhost", "[" if ":" in host else host]  # all that Starlette leaves of [::1]:3210
    return ["*"] if host in ("0.0.0.0", "::") else [host, "127.0.0.1", "localhost"]


def _warnings(host: str) -> list[str]:
    if _is_loopback(host):
        return []
    return [f"warning: whoever reaches {host} can see these videos and change this recipe's bounds"]
