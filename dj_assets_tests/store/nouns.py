"""Rows with every field set, to be changed where a test needs it, and ways to look at files from outside the store."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Fact, Provenance, Row, Verdict

PROVENANCE = Provenance(
    asset="space/stats/video_motion_score_filter",
    shard="ds-00000",
    recipe="space",
    recipe_sha256="ab" * 32,
    code_version="0123456789abcdef",
    run_id="run-1",
    created_at="2026-11-22T10:00:00+00:00",
    versions="dj-assets 0.1.0",
)


def content_hash(number: int) -> str:
    """A hash as the engine makes them."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def a_fact(number: int = 1, **changes: object) -> Fact:
    """A measured number about video `number`."""
    fields: dict[str, object] = {
        "content_hash": content_hash(number),
        "operator": "video_motion_score_filter",
        "measure_id": "0123456789abcdef",
        "stat": "video_motion_score",
        "value": 1.5,
        "window_values": (1.0, 2.0),
        "window_details": ('{"boxes": []}', "{}"),
        "status": "ok",
        "reason": "",
        "cost_seconds": 0.25,
        "device": "cpu",
        "measured_at": "2026-11-22T10:00:00+00:00",
    }
    return Fact(**{**fields, **changes})  # type: ignore[arg-type]  # typed by the fields above


def a_row(number: int = 1, **changes: object) -> Row:
    """A row about video `number`."""
    return Row(f"ds:{number}", "videos", 0, f"/videos/{number}.mp4", a_fact(number, **changes), reused=True)


def a_video(number: int = 1) -> Video:
    """A video with every field set."""
    return Video(
        "videos", 0, f"{number}.mp4", f"/videos/{number}.mp4", content_hash(number), 4096, 1_700_000_000_000_000_001
    )


def a_sample(number: int = 1) -> Sample:
    """A sample that lists one video."""
    return Sample(f"ds:{number}", "ds", number, {"text": "t", "videos": [f"{number}.mp4"]}, (a_video(number),))


def a_verdict(number: int = 1) -> Verdict:
    """A sample that left for its motion."""
    return Verdict(
        sample_id=f"ds:{number}",
        outcome="dropped",
        step="video_motion_score_filter",
        operator="video_motion_score_filter",
        stat="video_motion_score",
        values=(1.5, None),
        bound="video_motion_score >= 2",
    )


def query(index: Path, sql: str) -> list[list[object]]:
    """Ask a store's index as a user's tool would: read-only, by the prefix that the docs give."""
    import duckdb

    connection = duckdb.connect(f"duckdb:{index}", read_only=True)
    try:
        return [list(row) for row in connection.execute(sql).fetchall()]
    finally:
        connection.close()
