"""What measuring has cost so far: the seconds that a plan may expect."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

from dj_assets.store.facts import folder_of

log = logging.getLogger(__name__)

NEWEST_FILES = 5
"""Facts files looked at: enough to average over, few enough to be read at once in a store of any size."""

MOST_VIDEOS = 2000


def recent(root: Path, operator: str, measure_id: str) -> dict[str, float]:
    """Worker seconds of videos under a measure, by content hash, from its newest numbers; at most `MOST_VIDEOS`."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    newest = sorted(folder_of(root, operator, measure_id).glob("*.parquet"), key=_written, reverse=True)[:NEWEST_FILES]
    found: dict[str, float] = {}
    for path in newest:
        if len(found) >= MOST_VIDEOS:
            break
        try:
            table = pq.read_table(path, columns=["content_hash", "cost_seconds", "status"])
        except (OSError, ValueError) as error:  # removed by a compaction meanwhile, or damaged: one voice less
            log.debug("no cost from %s: %s", path, error)
            continue
        measured = table.filter(pc.equal(table["status"], "ok")).slice(0, MOST_VIDEOS)
        # An operator with two stats has two facts of one cost.
        each = measured.group_by("content_hash").aggregate([("cost_seconds", "max")])
        for content_hash, seconds in zip(
            each["content_hash"].to_pylist(), each["cost_seconds_max"].to_pylist(), strict=True
        ):
            found.setdefault(content_hash, seconds)  # what a newer file says holds
    return dict(islice(found.items(), MOST_VIDEOS))


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
