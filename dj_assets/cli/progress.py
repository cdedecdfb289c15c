"""How far a run has come: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from dj_assets.cli.console import print_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

    from dj_assets.measure import Progress

EVERY_SECONDS = 5.0


class View(Protocol):
    """What a run tells how far it has come."""

    def begin_shard(self, shard_key: str) -> None:
        """A shard's run begins."""

    def __call__(self, progress: Progress) -> None:
        """A pass has done one more video."""


class _Shards:
    """Which of how many shards is at work, as the start of a line; empty where there is only one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = 0

    @property
    def text(self) -> str:
        return f"shard {self.begun} of {max(self.begun, self.total)}, " if self.begun and self.total > 1 else ""


class PlainProgress:
    """Lines at most every few seconds; but the first end of each kind of pass is always told.

    say: prints a line. clock: seconds that grow.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        num_shards: int,
        every_seconds: float = EVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._shards = _Shards(num_shards)
        self._every_seconds = every_seconds
        self._clock = clock
        self._said_at_seconds = clock()
        self._ended: set[str] = set()

    def begin_shard(self, shard_key: str) -> None:
        self._shards.begun += 1

    def __call__(self, progress: Progress) -> None:
        from dj_assets.defs.progress import progress_text

        if not progress.total:
            return
        is_due = self._clock() - self._said_at_seconds >= self._every_seconds
        is_first_end = progress.done == progress.total and progress.pass_name not in self._ended
        if is_first_end:
            self._ended.add(progress.pass_name)
        if is_due or is_first_end:
            self._said_at_seconds = self._clock()
            self._say(self._shards.text + progress_text(progress))


class BarProgress:
    """One bar, for the pass at work."""

    def __init__(self, bars: Bars, *, num_shards: int) -> None:
        self._bars = bars
        self._shards = _Shards(num_shards)
        self._task = bars.add_task("", total=None, text="starting")

    def begin_shard(self, shard_key: str) -> None:
        self._shards.begun += 1
        self._bars.update(self._task, total=None, text=f"{self._shards.text}reading {shard_key}")

    def __call__(self, progress: Progress) -> None:
        from dj_assets.defs.progress import progress_text

        total = progress.total or None
        text = self._shards.text + (progress_text(progress) if total else f"{progress.pass_name}: nothing to measure")
        self._bars.update(self._task, total=total, completed=progress.done, text=text)


@contextmanager
def showing_progress(out: Console, *, num_shards: int) -> Iterator[View]:
    """A bar on a terminal, which goes when the run ends; lines elsewhere."""
    if not out.is_terminal:
        yield PlainProgress(lambda line: print_lines(out, [line]), num_shards=num_shards)
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    spinner = SpinnerColumn("line")  # ASCII: the default's dots are lost on a terminal that is not UTF-8
    with Bars(
        spinner, BarColumn(), TextColumn("{task.fields[text]}", markup=False), console=out, transient=True
    ) as bars:
        yield BarProgress(bars, num_shards=num_shards)
