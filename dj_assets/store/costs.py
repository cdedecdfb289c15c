"""What measuring has cost so far: the seconds that a plan may expect."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from dj_assets.store.facts import folder_of

log = logging.getLogger(__name__)

NEWEST_FILES = 5
"""Facts files looked at: enough to average over, few enough to be read at once in a store of any size."""


def seconds_per_video(root: Path, operator: str, measure_id: str) -> float | None:
    """Mean worker seconds of one video under a measure, by its newest numbers; None where there are none."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    newest = sorted(folder_of(root, operator, measure_id).glob("*.parquet"), key=_written, reverse=True)[:NEWEST_FILES]
    total, count = 0.0, 0
    for path in newest:
        try:
            table = pq.read_table(path, columns=["content_hash", "cost_seconds", "status"])
        except (OSError, ValueError) as error:  # removed by a compaction meanwhile, or damaged: one voice less
            log.debug("no cost from %s: %s", path, error)
            continue
        measured = table.filter(pc.equal(table["status"], "ok"))
        # An operator with two stats has two facts of one cost.
        each = measured.group_by("content_hash").aggregate([("cost_seconds", "max")])
        total += math.fsum(each["cost_seconds_max"].to_pylist())
        count += each.num_rows
    return total / count if count else None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
