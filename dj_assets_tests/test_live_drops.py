"""A data drop in the landing folder becomes an export with no hand on it, through the real daemon."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from dj_assets_tests.live import LiveProject, live_project

QUIET_SECONDS = 8

WATCHED = f"""\
dataset_path: vids
export_path: outputs/{{name}}/res.jsonl
process:
  - video_duration_filter: {{{{min_duration: 0.2}}}}
dj_assets:
  shard_size: 2
  landing: {{{{watch: true, quiet_seconds: {QUIET_SECONDS}, every_seconds: 5}}}}
"""
"""Lands where the videos lie, which are no drop as soon as there is a manifest."""

RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
TICKS = """query($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { ticks { timestamp status skipReason } } } }
}"""


def lines(*names: str) -> str:
    records = [{"text": name, "videos": [f"clip{number}.mp4"]} for number, name in enumerate(names, 1)]
    return "".join(json.dumps(record) + "\n" for record in records)


def runs(live: LiveProject) -> list[tuple[str, str]]:
    """(partition, status) of every run, in the order of their making."""
    found = live.graphql(RUNS)["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in found]
    return [(tag["dagster/partition"], run["status"]) for tag, run in zip(tags, found, strict=True)][::-1]


def looks_since(live: LiveProject, moment: float) -> int:
    """How often the sensor has looked since then."""
    sensor = {"sensorName": "clips_drops", "repositoryName": "__repository__", "repositoryLocationName": "dj_assets"}
    state = live.graphql(TICKS, sensor=sensor)["sensorOrError"]["sensorState"]
    return sum(tick["timestamp"] > moment and tick["status"] in ("SKIPPED", "SUCCESS") for tick in state["ticks"])


def exported(export: Path) -> list[str]:
    if not export.exists():
        return []
    return [json.loads(line)["text"] for line in export.read_text().splitlines()]


def all_done(live: LiveProject, partitions: Sequence[str]) -> bool:
    return runs(live) == [(partition, "SUCCESS") for partition in partitions]


def test_a_drop_becomes_an_export_by_itself(tmp_path: Path) -> None:
    first = ["ds-00000", "ds-00001"]
    with live_project(tmp_path / "p", recipes={"clips": WATCHED}, num_videos=4, prepare=wait_for_manifests) as live:
        export = live.folder / "outputs" / "clips" / "res.jsonl"
        manifest = live.folder / "vids" / "ds.jsonl"
        whole = lines("a", "b", "c", "d")
        started = time.time()
        for end in range(0, len(whole), 7):  # half-written for ten seconds and more
            manifest.write_text(whole[: end + 7])
            time.sleep(0.5)
            assert runs(live) == []
        assert time.time() - started > 10
        live.wait_for(lambda: all_done(live, first), 90)
        assert exported(export) == ["b", "c", "d"]  # the first clip is too short

        delivered_again = time.time()
        manifest.write_text(whole)
        live.wait_for(lambda: looks_since(live, delivered_again + QUIET_SECONDS) >= 2, 60)
        assert all_done(live, first)

        manifest.write_text(lines("a", "b", "c", "changed"))
        live.wait_for(lambda: all_done(live, [*first, "ds-00001"]), 90)
        assert exported(export) == ["b", "c", "changed"]

        manifest.unlink()
        withdrawn = time.time()
        live.wait_for(lambda: looks_since(live, withdrawn) >= 2, 60)
        assert all_done(live, [*first, "ds-00001"])
        assert exported(export) == ["b", "c", "changed"]


def wait_for_manifests(folder: Path) -> None:
    """A folder of videos alone would be a data drop; with a manifest in it, manifests are."""
    (folder / "vids" / "ds.jsonl").write_text("")
    (folder / "ds.jsonl").unlink()
