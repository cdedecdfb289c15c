"""Two backfills and a sensor at once under the real daemon: pools hold, nothing is lost, the webserver answers."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from dj_assets.store.store import Store
from dj_assets_tests.live import INSTANCE, LiveProject, live_project

SHARDS = 3
CPU_SLOTS = 1

MOVING = """\
dataset_path: ds.jsonl
export_path: outputs/{name}/res.jsonl
np: 1
process:
  - video_motion_score_filter: {{min_score: 0.0, sampling_fps: 12, winsize: %d}}
dj_assets: {{shard_size: 1}}
"""
WATCHED = """\
dataset_path: vids
export_path: outputs/{name}/res.jsonl
np: 1
process:
  - video_duration_filter: {{min_duration: 0.1}}
dj_assets: {{shard_size: 1, landing: {{watch: true, complete: renamed, every_seconds: 5}}}}
"""

BACKFILL = """mutation($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) { __typename ... on PythonError { message } }
}"""
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status } } } }"
STEPS = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  __typename
  ... on ExecutionStepStartEvent { stepKey timestamp }
  ... on ExecutionStepSuccessEvent { stepKey timestamp }
} } } }"""


def backfill(live: LiveProject, recipe: str) -> None:
    names = ["samples", "stats/video_motion_score_filter", "filtered", "export"]
    asked = {
        "assetSelection": [{"path": [recipe, *name.split("/")]} for name in names],
        "partitionNames": [f"ds-{number:05d}" for number in range(SHARDS)],
    }
    assert live.graphql(BACKFILL, backfill=asked)["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess"


def land(folder: Path) -> None:
    """Renamed into place, as `landing.complete: renamed` has it."""
    for number in range(1, SHARDS + 1):
        hidden = folder / "vids" / f".drop{number}.jsonl"
        hidden.write_text(json.dumps({"videos": [f"clip{number}.mp4"]}) + "\n")
        hidden.rename(folder / "vids" / f"drop{number}.jsonl")


def statuses(live: LiveProject) -> set[str]:
    return {run["status"] for run in live.graphql(RUNS)["runsOrError"]["results"]}


def measuring_spans(live: LiveProject) -> list[tuple[float, float]]:
    """(start, end), ms since 1970, of every step that holds a slot of pool `cpu`, by the event log."""
    spans = []
    for run in live.graphql(RUNS)["runsOrError"]["results"]:
        steps: dict[str, list[float]] = {}
        for event in live.graphql(STEPS, id=run["runId"])["logsForRun"]["events"]:
            if "__measure_" in event.get("stepKey", ""):
                steps.setdefault(event["stepKey"], []).append(float(event["timestamp"]))
        spans += [(min(times), max(times)) for times in steps.values()]
    return spans


def most_at_once(spans: list[tuple[float, float]]) -> int:
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


class Asking:
    """Asks the webserver again and again until it is left."""

    def __init__(self, live: LiveProject) -> None:
        self.live = live
        self.answers = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._is_over.wait(0.3):
            try:
                self.live.graphql(RUNS)
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


def test_pools_hold_and_nothing_is_lost_when_everything_comes_at_once(tmp_path: Path) -> None:
    recipes = {"first": MOVING % 15, "second": MOVING % 21, "watched": WATCHED}
    four_runs = INSTANCE.replace("max_concurrent_runs: 2", "max_concurrent_runs: 4")
    served = live_project(
        tmp_path / "p",
        recipes=recipes,
        num_videos=SHARDS,
        instance=four_runs,
        environment={"DJ_ASSETS_CPU_SLOTS": str(CPU_SLOTS)},
    )
    with served as live, Asking(live) as asking:
        backfill(live, "first")
        backfill(live, "second")
        land(live.folder)

        def all_done() -> bool:
            exports = [live.folder / "outputs" / name / "res.jsonl" for name in recipes]
            return all(path.exists() and len(path.read_text().splitlines()) == SHARDS for path in exports)

        live.wait_for(all_done, 240)
        live.wait_for(lambda: statuses(live) == {"SUCCESS"}, 60)
        spans = measuring_spans(live)
        assert len(spans) >= 3 * SHARDS
        assert most_at_once(spans) == CPU_SLOTS
        said = live.log.read_text().lower()
        assert "database is locked" not in said and "could not set lock" not in said
    assert asking.failures == []
    assert asking.answers > 20
    store = Store(tmp_path / "p" / ".dj_assets" / "store")
    for name in ("first", "second"):
        rows = [store.read_stats(name, "video_motion_score_filter", f"ds-{number:05d}") for number in range(SHARDS)]
        assert [len(one) for one in rows] == [1] * SHARDS
        assert all(row.fact.status == "ok" for one in rows for row in one)
