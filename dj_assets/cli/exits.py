"""Exit codes, and how a command says them."""

from __future__ import annotations

OK = 0
FAILED = 1
CANNOT_BE_RIGHT = 2
UNDECIDED = 3
DIFFERS = 4
CANNOT_TELL = 5
INTERRUPTED = 130

EXIT_CODES = """
\b
Exit codes:
  0    nothing was lost
  1    a shard failed, or a fault of the software
  2    the recipe or the command line cannot be right; nothing was run
  3    finished, but undecided samples were set aside
  130  stopped by Ctrl-C or SIGTERM; what was measured is kept
"""
