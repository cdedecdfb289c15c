"""How tables and lines are printed: wide where nobody watches, in ASCII where the terminal knows no more, no markup."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 160
"""Columns where output goes to a file or a pipe; a terminal says its own."""


def console(*, stderr: bool = False) -> Console:
    """A console over stdout or stderr. Texts are printed as they are: a path may hold `[brackets]`."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PLAIN_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def print_lines(out: Console, lines: Iterable[str]) -> None:
    """Lines that may be longer than the terminal is wide: never broken, so that paths can be copied."""
    for line in lines:
        out.print(line, soft_wrap=True)


def print_table(
    out: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[str] = ()
) -> None:
    """A table and an empty line; nothing where there are no rows. columns: headings; with none, rows alone.

    numbers: headings of columns to set to the right.
    """
    from rich import box
    from rich.table import Table

    rows = list(rows)
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns), header_style="bold")
    for heading in columns:
        right = heading in numbers
        table.add_column(heading, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    out.print()


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 shard`, `2 shards`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
