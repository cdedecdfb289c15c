"""Ctrl-C and SIGTERM: one way to end, which stops every worker process and says what was kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WHAT_IS_KEPT = (
    "Interrupted. The worker processes are stopped. What was measured is kept: the next run goes on from there."
)


@contextmanager
def other_signals_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and a closed terminal do what Ctrl-C does: a service manager and a person end a command alike."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; whoever runs it in another one sees to signals
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Around a run: whoever interrupts it gets the workers stopped and one line instead of a traceback."""
    with other_signals_as_ctrl_c():
        try:
            yield
        except KeyboardInterrupt:
            from dj_assets.workers import close_pools

            close_pools()
            raise KeyboardInterrupt(WHAT_IS_KEPT) from None
