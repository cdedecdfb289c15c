"""A project's store with one of everything, written without a video, for `why`, `lineage` and `sql`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result

from dj_assets.cli import command_line
from dj_assets.store.measures import MeasureInfo
from dj_assets.store.rows import Verdict
from dj_assets.store.store import Store
from dj_assets_tests.store.nouns import PROVENANCE, a_fact, a_row, a_sample
from dj_assets_tests.store.test_lineage import manifest

DURATION, MEASURE = "video_duration_filter", "0011223344556677"
SECONDS = {1: 0.5, 2: 3.5, 3: None}


def write_store(root: Path) -> Store:
    """Recipe `short` over three videos: 1 dropped for its 0.5 s, 2 kept with 3.5 s, 3 unreadable."""
    store = Store(root)
    numbers = {"operator": DURATION, "measure_id": MEASURE, "stat": "video_duration"}
    provenance = replace(PROVENANCE, recipe="short")
    rows, facts = [], []
    for number, value in SECONDS.items():
        found = {**numbers, "value": value, "status": "ok" if value else "unreadable"}
        facts.append(a_fact(number, **found))
        rows.append(replace(a_row(number, **found), reused=False))
    store.write_samples("short", "ds-00000", [a_sample(number) for number in SECONDS], provenance)
    store.append_facts(facts, provenance)
    store.describe_measure(MeasureInfo(DURATION, MEASURE, 1))
    store.write_stats("short", DURATION, "ds-00000", rows, provenance)
    bound = "video_duration >= 2"
    verdicts = [
        Verdict("ds:1", "dropped", DURATION, DURATION, "video_duration", (0.5,), bound),
        Verdict("ds:2", "kept"),
        Verdict("ds:3", "undecided", DURATION, DURATION, "video_duration", (None,), bound, "unreadable", "cut short"),
    ]
    store.write_verdicts("short", "ds-00000", verdicts, provenance)
    manifest(store, "short", "/out/res.jsonl", ["ds-00000"], bound, step=DURATION)
    return store


def dj_assets(*arguments: str) -> Result:
    """Run the command line in this process; what it lets escape fails the test."""
    result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
