"""`dj-assets operators`: what a recipe may name, and what of Data-Juicer's is refused and why."""

from __future__ import annotations

from pathlib import Path

import click

from dj_assets.cli.console import console, print_lines
from dj_assets.cli.exits import EXIT_CODES
from dj_assets.cli.verbosity import verbose_option
from dj_assets.errors import RecipeError


@click.command(
    name="operators",
    epilog=f"""\b
Examples:
  dj-assets operators
  dj-assets operators video_motion_score_filter video_duration_filter
  dj-assets operators --markdown
{EXIT_CODES}""",
)
@click.argument("names", nargs=-1, metavar="[OPERATOR]...")
@click.option("--markdown", is_flag=True, help="The tables of docs/operators.md instead.")
@click.option("--into", type=click.Path(path_type=Path), help="Write these tables into FILE, between its markers.")
@verbose_option
def command(names: tuple[str, ...], markdown: bool, into: Path | None) -> None:
    """List the operators that a recipe may name, with their options, and Data-Juicer's that are refused here.

    With names, only these; one that is refused is answered with the reason.
    """
    if markdown or into is not None:
        _write_tables(into)
        return
    from dj_assets.cli.operator_list import print_operators

    print_operators(console(), names)


def _write_tables(into: Path | None) -> None:
    from dj_assets import operator_table

    table = operator_table.markdown()
    if into is None:
        click.echo(table, nl=False)
        return
    from dj_assets.store.files import write_atomically

    try:
        page = operator_table.put_into(into.read_text(encoding="utf-8"), table)
    except (ValueError, FileNotFoundError) as error:
        raise RecipeError(
            f"{into}: {error}",
            allowed="a file with the two markers that docs/operators.md has",
            try_="name that file, or print the tables with --markdown",
            file="command line",
        ) from None

    def write(path: Path) -> None:
        path.write_text(page, encoding="utf-8")

    write_atomically(into, write)
    print_lines(console(), [str(into)])
