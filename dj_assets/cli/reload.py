"""`dj-assets reload`: let the web interface read the recipes again."""

from __future__ import annotations

import click

from dj_assets.cli.console import console, counted, print_lines, print_table
from dj_assets.cli.exits import CANNOT_BE_RIGHT, OK
from dj_assets.cli.verbosity import verbose_option
from dj_assets.cli.webserver import LOCATION, Webserver, url_option

RELOAD = """mutation ($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename
  ... on WorkspaceLocationEntry { name loadStatus } ... on Error { message } } }"""


@click.command(
    name="reload",
    epilog="""\b
Example:
  dj-assets reload

\b
Exit codes:
  0    every recipe is loaded
  1    nobody answers, or the definitions cannot be loaded at all
  2    a recipe is broken; the others are loaded
""",
)
@url_option
@verbose_option
def command(url: str) -> None:
    """Load the recipes anew, after one was edited, added or removed.

    The same as "Reload definitions" in the web interface. The daemon has definitions of its own, which it renews every
    minute.
    """
    out, err = console(), console(stderr=True)
    server = Webserver(url)
    server.ask(RELOAD, location=LOCATION)
    server.raise_for_broken_location()
    recipes, broken = server.recipes(), server.broken_recipes()
    rows = [(name, counted(len(assets), "asset")) for name, assets in recipes.items()]
    print_table(out, ("recipe", "loaded"), [*rows, *((name, "broken") for name in broken)])
    for name, error in broken.items():
        print_lines(err, [f"recipe {name} is broken:", error, ""])
    print_lines(out, [f"{counted(len(recipes), 'recipe')} loaded" + (f", {len(broken)} broken" if broken else "")])
    click.get_current_context().exit(CANNOT_BE_RIGHT if broken else OK)
