"""Runs that are ended or killed under the real daemon: nothing half, nothing twice, and in the end everything."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dj_assets.store.store import Store
from dj_assets_tests.live import LiveProject, live_project

NUM_VIDEOS = 12

SLOW_OPERATOR = '''
"""Half a second of nothing for each video, which is what makes a run that can be met in the middle."""
import time
from dj_assets.operators._contract import Bound, NoParams, Operator, Stat

def read(info, params):
    time.sleep(0.5)
    return (float(info.num_frames_from_scan),)

OPERATOR = Operator(
    name="video_slow_filter", version=1, summary="number of frames, slowly", compute="header", params=NoParams,
    stats=(Stat("video_slow", unit="frames"),), bounds=(Bound("min_slow", "video_slow", "min", 0.0, help="frames"),),
    read=read,
)
'''

SLOW = f"""\
dataset_path: ds.jsonl
export_path: outputs/{{name}}/res.jsonl
np: 1
process:
  - video_slow_filter: {{{{min_slow: 5}}}}
dj_assets: {{{{shard_size: {NUM_VIDEOS}}}}}
"""

LAUNCH = """mutation($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}"""
RUNS = "{ runsOrError { ... on Runs { results { runId status parentRunId } } } }"
LOGS = """query($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
}"""
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"


@pytest.fixture
def executor() -> str:
    return "in_process"


@pytest.fixture
def live(tmp_path: Path, operator_package: Path, executor: str) -> Iterator[LiveProject]:
    (operator_package / "video_slow_filter.py").write_text(SLOW_OPERATOR)
    environment = {"DJ_ASSETS_EXECUTOR": executor}
    with live_project(tmp_path / "p", recipes={"slow": SLOW}, num_videos=NUM_VIDEOS, environment=environment) as live:
        yield live


def launch(live: LiveProject) -> str:
    run = {
        "selector": {"jobName": "slow", "repositoryName": "__repository__", "repositoryLocationName": "dj_assets"},
        "runConfigData": {},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "ds-00000"}]},
    }
    answer = live.graphql(LAUNCH, run=run)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def messages(live: LiveProject, run_id: str) -> list[str]:
    return [event["message"] for event in live.graphql(LOGS, id=run_id)["logsForRun"]["events"] if event]


def statuses(live: LiveProject) -> dict[str, str]:
    return {run["runId"]: run["status"] for run in live.graphql(RUNS)["runsOrError"]["results"]}


def wait_until_measuring(live: LiveProject, run_id: str) -> str:
    """The progress line that says that some videos are done and others are not."""

    def line() -> str:
        said = [message for message in messages(live, run_id) if "videos, " in message and "header: " in message]
        return next((message for message in said if f" {NUM_VIDEOS} of" not in message), "")

    return live.wait_for(line, 60)


def processes_of(run_id: str) -> list[int]:
    """The run's process: the one that holds its sign of life. Its workers are its children."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if any(f"{run_id}.lock" in str(link.readlink()) for link in (folder / "fd").iterdir()):
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def rows_in_store(live: LiveProject) -> dict[str, Any]:
    """How often each line of a table is there, by table."""
    store = Store(live.folder / ".dj_assets" / "store")
    samples = store.read_samples("slow", "ds-00000")
    return {
        "samples": Counter(sample.sample_id for sample in samples),
        "stats": Counter(row.sample_id for row in store.read_stats("slow", "video_slow_filter", "ds-00000")),
        "verdicts": Counter(verdict.sample_id for verdict in store.read_verdicts("slow", "ds-00000")),
    }


def everything_is_there_once(live: LiveProject) -> None:
    every = {f"ds.jsonl:{number}": 1 for number in range(1, NUM_VIDEOS + 1)}
    assert rows_in_store(live) == {"samples": every, "stats": every, "verdicts": every}
    export = live.folder / "outputs" / "slow" / "res.jsonl"
    assert len(export.read_text().splitlines()) == NUM_VIDEOS - 1  # the first clip has four frames


def test_a_measuring_run_that_is_terminated_ends_within_seconds_and_leaves_no_half_table(live: LiveProject) -> None:
    run_id = launch(live)
    said = wait_until_measuring(live, run_id)
    assert f"recipe=slow shard=ds-00000 run={run_id[:8]} header: " in said
    [process] = processes_of(run_id)
    terminate(live, run_id)
    live.wait_for(lambda: not Path(f"/proc/{process}").exists(), 10)

    again = launch(live)
    live.wait_for(lambda: statuses(live)[again] == "SUCCESS", 60)
    everything_is_there_once(live)


def terminate(live: LiveProject, run_id: str) -> None:
    assert live.graphql(TERMINATE, id=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    live.wait_for(lambda: statuses(live)[run_id] == "CANCELED", 10)
    store = Store(live.folder / ".dj_assets" / "store")
    assert not store.stats_path("slow", "video_slow_filter", "ds-00000").exists()


@pytest.mark.parametrize("executor", ["multiprocess"])
def test_steps_in_processes_of_their_own_are_terminated_as_soon(live: LiveProject) -> None:
    """And not retried: Dagster takes an interrupt for a reason to, where a step has a retry policy."""
    run_id = launch(live)
    wait_until_measuring(live, run_id)
    terminate(live, run_id)
    time.sleep(15)  # a retry would come after ten
    assert statuses(live) == {run_id: "CANCELED"}
    assert [path.name for path in live.folder.glob("outputs/*/*")] == []


def test_a_killed_run_is_run_again_by_itself(live: LiveProject) -> None:
    run_id = launch(live)
    wait_until_measuring(live, run_id)
    [process] = processes_of(run_id)
    os.kill(process, signal.SIGKILL)
    live.wait_for(lambda: sorted(statuses(live).values()) == ["FAILURE", "SUCCESS"], 90)
    everything_is_there_once(live)


def test_with_daemon_and_run_killed_everything_completes_after_a_restart(live: LiveProject) -> None:
    """As when the machine goes down: nobody is left who knew of the run."""
    run_id = launch(live)
    wait_until_measuring(live, run_id)
    [process] = processes_of(run_id)
    for name in ("daemon", "webserver"):
        os.killpg(live.processes[name].pid, signal.SIGKILL)
        live.processes.pop(name).wait()
    if Path(f"/proc/{process}").exists():
        os.kill(process, signal.SIGKILL)
    live.start("webserver")
    live.start("daemon")
    live.wait_for(live.is_up, 60)
    live.wait_for(lambda: sorted(statuses(live).values()) == ["FAILURE", "SUCCESS"], 120)
    everything_is_there_once(live)


@pytest.mark.parametrize("executor", ["multiprocess"])
def test_a_step_that_is_killed_is_taken_once_more_by_its_run(live: LiveProject) -> None:
    """In a process of its own, it takes no run with it."""
    run_id = launch(live)
    wait_until_measuring(live, run_id)
    [step] = re.findall(rf"{run_id} - (\d+) - slow__measure_header - STEP_START", live.log.read_text())
    os.kill(int(step), signal.SIGKILL)
    live.wait_for(lambda: statuses(live)[run_id] == "SUCCESS", 120)
    assert any("slow__measure_header" in said and "retry" in said for said in messages(live, run_id))
    everything_is_there_once(live)
