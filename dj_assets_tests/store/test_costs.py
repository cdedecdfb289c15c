"""What a plan may expect to pay, from what was paid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dj_assets.store import costs
from dj_assets.store.rows import Fact, Provenance
from dj_assets.store.store import Store

PROVENANCE = Provenance(asset="r/stats", shard="s", recipe="r", recipe_sha256="0", code_version="1")


def fact(content_hash: str, cost_seconds: float, *, stat: str = "a", status: str = "ok") -> Fact:
    return Fact(
        content_hash,
        "video_x_filter",
        "aaaa",
        stat,
        1.0 if status == "ok" else None,
        status=status,  # type: ignore[arg-type]
        cost_seconds=cost_seconds,
        measured_at="2026-01-01T00:00:00+00:00",
    )


def test_each_videos_cost_once_whatever_stats_it_has_and_no_failures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.recent_costs("video_x_filter", "aaaa") == {}
    store.append_facts([fact("1", 2.0), fact("1", 2.0, stat="b"), fact("2", 4.0)], PROVENANCE)
    store.append_facts([fact("3", 6.0), fact("4", 99.0, status="unreadable")], PROVENANCE)
    assert store.recent_costs("video_x_filter", "aaaa") == {"1": 2.0, "2": 4.0, "3": 6.0}


def test_of_a_video_measured_twice_the_newer_cost_counts_and_no_more_videos_than_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "MOST_VIDEOS", 3)
    store = Store(tmp_path)
    [old] = store.append_facts([fact("1", 90.0), fact("2", 4.0), fact("3", 5.0)], PROVENANCE)
    os.utime(old, (1e9, 1e9))
    store.append_facts([fact("1", 2.0), fact("9", 3.0)], PROVENANCE)
    found = store.recent_costs("video_x_filter", "aaaa")
    assert found["1"] == 2.0 and found["9"] == 3.0
    assert len(found) == 3


def test_a_damaged_file_has_no_voice(tmp_path: Path) -> None:
    store = Store(tmp_path)
    [path] = store.append_facts([fact("1", 2.0)], PROVENANCE)
    path.with_name("damaged.parquet").write_bytes(b"PAR1")
    assert store.recent_costs("video_x_filter", "aaaa") == {"1": 2.0}
