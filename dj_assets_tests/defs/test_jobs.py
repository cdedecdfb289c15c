"""Running a recipe shard by shard in this process."""

from __future__ import annotations

import signal
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.decide import Summary
from dj_assets.defs.jobs import run_recipe, total_summary
from dj_assets.measure import Progress
from dj_assets_tests.defs.small_project import MOTION, FakeMeasure, make_test_plan, write_manifest


def test_one_run_per_shard_and_a_shard_that_fails_stops_no_other(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, 5)

    def value(step_key: str, sample_id: str) -> float:
        if sample_id.endswith(":3"):
            raise RuntimeError("the engine fell over")
        return 5.0

    fake_measure.value = value
    plan = make_test_plan(tmp_path, steps={MOTION: {}}, shard_size=2)
    report = run_recipe(plan, instance=instance, store_root=tmp_path / "store")

    assert [(shard.shard_key, shard.success) for shard in report.shards] == [
        ("ds-00000", True),
        ("ds-00001", False),
        ("ds-00002", True),
    ]
    assert not report.success
    [failed] = report.failed
    assert failed.failure == "clips__measure_cpu: RuntimeError: the engine fell over"
    assert "in value" in failed.traceback
    assert report.summary is not None and report.summary.kept == 3
    assert len(report.paths["kept"].read_text(encoding="utf-8").splitlines()) == 3
    for shard in report.shards:
        run = instance.get_run_by_id(shard.run_id)
        assert run is not None and run.tags["dagster/partition"] == shard.shard_key


def test_asked_for_some_shards_it_runs_those(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    write_manifest(tmp_path, 4)
    plan = make_test_plan(tmp_path, steps={MOTION: {}}, shard_size=2)
    report = run_recipe(plan, instance=instance, store_root=tmp_path / "store", shard_keys=["ds-00001"])
    assert [shard.shard_key for shard in report.shards] == ["ds-00001"]
    assert instance.get_dynamic_partitions("clips_shards") == ["ds-00000", "ds-00001"]


def test_progress_reaches_the_caller(tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure) -> None:
    write_manifest(tmp_path, 3)
    heard: list[Progress] = []
    run_recipe(
        make_test_plan(tmp_path),
        instance=instance,
        store_root=tmp_path / "store",
        on_progress=heard.append,
    )
    assert [(progress.pass_name, progress.done) for progress in heard] == [
        ("header", 3),
        ("cpu", 3),
        ("gpu", 3),
    ]


def test_a_full_pool_is_named_with_who_holds_it(
    tmp_path: Path, fake_measure: FakeMeasure, caplog: pytest.LogCaptureFixture
) -> None:
    write_manifest(tmp_path, 1)
    plan = make_test_plan(tmp_path, steps={MOTION: {}})  # needs no slot of `gpu`, so this test need not wait
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 1)
        instance.event_log_storage.claim_concurrency_slot("gpu", "run-of-someone", "step")
        run_recipe(plan, instance=instance, store_root=tmp_path / "store")
    assert "pool gpu is full; this waits until run run-of-someone" in caplog.text


def test_nothing_but_the_store_and_the_export_is_written(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure, capfd: pytest.CaptureFixture[str]
) -> None:
    """No lock is left behind, and the console belongs to the caller."""
    write_manifest(tmp_path, 1)
    run_recipe(make_test_plan(tmp_path), instance=instance, store_root=tmp_path / "store")
    assert {path.name for path in tmp_path.iterdir()} == {"ds.jsonl", "store", "outputs"}
    assert list((tmp_path / "store" / "running").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_ends_the_run_and_starts_no_other_shard(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    """Regression: Dagster turns the signal into a failed run, and the next shard was begun as if nothing was."""
    write_manifest(tmp_path, 4)
    begun: list[str] = []

    def value(step_key: str, sample_id: str) -> float:
        signal.raise_signal(signal.SIGINT)
        return 0.0

    fake_measure.value = value
    with pytest.raises(KeyboardInterrupt):
        run_recipe(
            make_test_plan(tmp_path, steps={MOTION: {}}, shard_size=2),
            instance=instance,
            store_root=tmp_path / "store",
            on_shard=begun.append,
        )
    assert begun == ["ds-00000"]
    [run] = instance.get_runs()
    assert run.is_finished
    assert list((tmp_path / "store" / "running").iterdir()) == []


def test_total_summary_adds_up() -> None:
    one = Summary(samples=3, kept=1, dropped={"a": 1, "b": 0}, undecided={"crashed": 1})
    two = Summary(samples=2, kept=0, dropped={"a": 0, "b": 1}, undecided={"missing": 1})
    assert total_summary([one, two]) == Summary(
        samples=5, kept=1, dropped={"a": 1, "b": 1}, undecided={"crashed": 1, "missing": 1}
    )
    assert total_summary([]) is None
