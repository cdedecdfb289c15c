"""`dj-assets demo`: the tutorial's two recipes over real clips, to see what comes out."""

from __future__ import annotations

import click

from dj_assets.cli.console import console, print_lines
from dj_assets.cli.exits import EXIT_CODES
from dj_assets.cli.interrupts import stopping_cleanly
from dj_assets.cli.verbosity import quiet_libraries, verbose_option


@click.command(
    name="demo",
    epilog=f"""\b
Example:
  dj-assets demo
{EXIT_CODES}""",
)
@verbose_option
def command() -> None:
    """Run the tutorial's two recipes on six clips.

    Prints a table of what each of them removes and why. Makes the folder .demo, a project of its own. Exit code 1
    where the clips do not fare as promised.
    """
    from dj_assets import demo

    err = console(stderr=True)
    with stopping_cleanly(), quiet_libraries(lambda line: print_lines(err, [line])):
        code = demo.run()
    click.get_current_context().exit(code)
