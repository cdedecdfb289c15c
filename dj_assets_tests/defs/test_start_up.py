"""Starting Python, importing and loading a model are paid for once in a run, however many shards it has."""

from __future__ import annotations

import json
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.defs.jobs import run_recipe
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets.workers import close_pools
from dj_assets_tests.videos import numbered, write_video

SHARDS = 4
OPERATOR = '''
"""Mean grey, by a model that notes each loading."""
import os
from pathlib import Path
from dj_assets.frames import Look, single
from dj_assets.operators._contract import Bound, NoParams, Operator, Scores, Stat

def load(params, device):
    with Path(__file__).with_name("{name}.txt").open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
    return "a model"

def plan(info, params):
    return single([0], Look("rgb24"))

def score(windows, params, model):
    return Scores(windows.data.mean(axis=(1, 2, 3, 4)))

OPERATOR = Operator(
    name="video_{name}_filter", version=1, summary="mean grey", compute="{compute}", params=NoParams,
    stats=(Stat("video_{name}", unit="level"),), bounds=(Bound("min_{name}", "video_{name}", "min", 0.0, help=""),),
    plan=plan, score=score, load=load,
)
'''


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the processes that this one starts."""
    close_pools()
    started: list[str] = []
    start = BaseProcess.start

    def counted(process: BaseProcess) -> None:
        started.append(process.name)
        start(process)

    monkeypatch.setattr(BaseProcess, "start", counted)
    return started


def test_workers_start_once_for_all_shards_and_passes(
    tmp_path: Path, operator_package: Path, starts: list[str], instance: dg.DagsterInstance
) -> None:
    for name, compute in (("grey", "cpu"), ("modelled", "gpu")):
        text = OPERATOR.format(name=name, compute=compute)
        (operator_package / f"video_{name}_filter.py").write_text(text)
    for number in range(2 * SHARDS):
        write_video(tmp_path / f"{number}.mp4", numbered(num_frames=3 + number))
    lines = [json.dumps({"text": "", "videos": [f"{number}.mp4"]}) + "\n" for number in range(2 * SHARDS)]
    (tmp_path / "ds.jsonl").write_text("".join(lines))
    (tmp_path / "clips.yaml").write_text(
        f"dataset_path: {tmp_path}/ds.jsonl\nexport_path: {tmp_path}/out/res.jsonl\nprocess:\n"
        "  - video_duration_filter: {}\n  - video_grey_filter: {}\n  - video_modelled_filter: {}\n"
        "dj_assets: {shard_size: 2, workers: 2}\n"
    )
    after: list[int] = []
    plan = make_plan(load_recipe(tmp_path / "clips.yaml"))
    report = run_recipe(
        plan,
        instance=instance,
        store_root=tmp_path / "store",
        on_shard=lambda key: after.append(len(starts)),
    )
    assert report.success and report.summary is not None and report.summary.kept == 2 * SHARDS
    assert after[0] == 0 and after[1] > 0
    assert [*after[1:], len(starts)] == [after[1]] * SHARDS, "a later shard started processes of its own"
    for name, most in (("grey", 2), ("modelled", 1)):
        loads = (operator_package / f"{name}.txt").read_text().splitlines()
        assert 1 <= len(loads) <= most and len(set(loads)) == len(loads), f"{name} was loaded more often than in each"
