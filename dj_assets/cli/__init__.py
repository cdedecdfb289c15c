"""The command line `dj-assets`. Each command is a light module here; what does the work is imported when it runs."""

from __future__ import annotations

import difflib
import errno
import gc as garbage  # `gc` is a command of ours
import sys
import traceback

import click

from dj_assets import __version__
from dj_assets.cli import (
    analyze,
    backfill,
    check,
    demo,
    diff,
    drops,
    evidence,
    gc,
    lineage,
    operators,
    plan,
    process,
    rebuild,
    reload,
    rerun,
    retry_failed,
    sql,
    stale,
    tune,
    ui,
    why,
)
from dj_assets.cli.exits import CANNOT_BE_RIGHT, EXIT_CODES, FAILED, INTERRUPTED
from dj_assets.cli.verbosity import is_verbose, verbose_option
from dj_assets.errors import DjAssetsError, RecipeError, RecipeErrors


class Entrance(click.Group):
    """Answers every error with a message and an exit code; a traceback is for those who ask with --verbose."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RecipeError as error:
            self.say(_recipe_error_text(error))
            ctx.exit(CANNOT_BE_RIGHT)
        except DjAssetsError as error:
            self.say(str(error))
            ctx.exit(FAILED)
        except KeyboardInterrupt as interrupt:
            self.say("\n" + (str(interrupt) or "Interrupted."))
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader has gone (`| head`): click knows what to do
            self.say(f"{error}\n{self.traceback(ctx)}")
            ctx.exit(FAILED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            self.say(
                f"a fault in dj-assets: {type(error).__name__}: {error}\n"
                f"  try: report it with what you typed and the traceback\n{self.traceback(ctx)}"
            )
            ctx.exit(FAILED)

    def traceback(self, ctx: click.Context) -> str:
        """The traceback of the error at hand, or how to get it."""
        return traceback.format_exc() if is_verbose(ctx) else "  (--verbose shows the traceback)"

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.commands, n=2)
            known = f"Commands: {', '.join(self.list_commands(ctx))}."
            ctx.fail(f"No such command {name!r}. " + (f"Did you mean {' or '.join(near)}?" if near else known))
        return super().resolve_command(ctx, args)


def _recipe_error_text(error: RecipeError) -> str:
    count = len(error.errors) if isinstance(error, RecipeErrors) else 1
    return str(error) if count == 1 else f"{error}\n{count} errors; nothing was run"


@click.group(
    cls=Entrance,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""\b
Examples:
  dj-assets demo
  dj-assets check
  dj-assets process --config recipes/video_space.yaml
{EXIT_CODES}""",
)
@click.version_option(__version__, prog_name="dj-assets")
@verbose_option
def command_line() -> None:
    """Data-Juicer video recipes, unchanged, as Dagster assets: measure once, decide for free, never lose a row."""


for module in (
    process,
    analyze,
    tune,
    diff,
    plan,
    why,
    evidence,
    lineage,
    sql,
    rerun,
    rebuild,
    check,
    operators,
    drops,
    gc,
    ui,
    demo,
):
    command_line.add_command(module.command)
for module in (backfill, retry_failed, stale, reload):  # over the web interface that `ui` starts
    command_line.add_command(module.command)


OBJECTS_BEFORE_A_LOOK = 50_000
"""Python's own 700 has it look for cycles some hundred times while modules are imported, where there are none: a fifth
of a command's CPU seconds."""


def main() -> None:
    """Entry point of `dj-assets`."""
    garbage.set_threshold(OBJECTS_BEFORE_A_LOOK, 10, 10)
    for stream in (sys.stdout, sys.stderr):
        # A file name that is not UTF-8, or a terminal that is not, must not cost a run its closing table.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    command_line(prog_name="dj-assets")
