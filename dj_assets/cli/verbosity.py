"""--verbose, which every command takes, and what it means for the logs of the libraries underneath."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[__name__] = True


def verbose_option(command: Decorated) -> Decorated:
    """Add --verbose, before or after the command's name."""
    return click.option(
        "--verbose",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="Show the logs of the libraries underneath, and tracebacks.",
    )(command)


def is_verbose(ctx: click.Context | None = None) -> bool:
    """Whether --verbose was given. ctx: default the command that runs."""
    return bool((ctx or click.get_current_context()).meta.get(__name__))


class _Lines(logging.Handler):
    """Our own warnings as plain lines, through whatever owns the terminal at the time; others' errors as well."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.split(".")[0] == "dj_assets"
        if ours or record.levelno >= logging.ERROR:
            self._say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def quiet_libraries(say: Callable[[str], None]) -> Iterator[None]:
    """Logs of this process as lines to `say`: our warnings and others' errors; everything with --verbose."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with warnings.catch_warnings():
        if is_verbose():
            root.setLevel(logging.INFO)
            handler: logging.Handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        else:
            warnings.simplefilter("ignore")
            handler = _Lines(say)
        root.handlers = [handler]
        try:
            yield
        finally:
            root.setLevel(level)
            root.handlers = handlers
