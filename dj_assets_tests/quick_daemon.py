"""`dagster-daemon` as it is, but for two intervals that cannot be set: it looks after backfills every 30 s, and needs
three looks. Run as `python -m dj_assets_tests.quick_daemon run -w workspace.yaml`."""

from __future__ import annotations

from dagster._daemon import controller
from dagster._daemon.cli import main

BACKFILLS_EVERY_SECONDS = 1
THREADS_EVERY_SECONDS = 1

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = BACKFILLS_EVERY_SECONDS
    controller.THREAD_CHECK_INTERVAL = THREADS_EVERY_SECONDS
    main()
