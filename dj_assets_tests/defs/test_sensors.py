"""Sensors of a project: what a tick asks for, that it may be repeated, and what it says when it asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.defs import sensors
from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.resources import StoreResource, project_resources
from dj_assets.defs.sensors import drops_sensor
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import Landing, Recipe, Settings


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "landing").mkdir()
    settings = Settings(shard_size=2, landing=Landing(watch=True, complete="renamed"))
    dataset = tmp_path / "landing"
    return make_plan(Recipe("clips", "clips.yaml", "0", dataset, tmp_path / "res.jsonl", (), settings))


def put(plan: Plan, name: str, *texts: str) -> None:
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    (plan.recipe.dataset_path / name).write_text("".join(lines))


class Ticks:
    """A sensor asked again and again, as the daemon does: it registers partitions and keeps the cursor."""

    def __init__(self, plan: Plan, instance: dg.DagsterInstance, store: Path) -> None:
        self.plan = plan
        self.store = StoreResource(root=str(store))
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources={"store": self.store})
        result = drops_sensor(self.plan)(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self.cursor = result.cursor
        return result

    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions("clips_shards"))


@pytest.fixture
def ticks(plan: Plan, tmp_path: Path) -> Iterator[Ticks]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Ticks(plan, instance, tmp_path / "store")


def keys(result: dg.SensorResult) -> list[str | None]:
    return [request.partition_key for request in result.run_requests or ()]


def words(result: dg.SensorResult) -> str:
    return (result.skip_reason.skip_message if isinstance(result.skip_reason, dg.SkipReason) else "") or ""


def test_a_new_drop_becomes_partitions_and_a_run_each(plan: Plan, ticks: Ticks) -> None:
    put(plan, "a, b ….jsonl", "1", "2", "3")
    result = ticks.tick()
    assert keys(result) == ticks.partitions()
    assert len(ticks.partitions()) == 2
    assert [request.tags["dj_assets/drop"] for request in result.run_requests or ()] == ["a, b ….jsonl"] * 2
    assert keys(ticks.tick()) == []


def test_a_tick_whose_cursor_was_lost_asks_for_the_same_runs(plan: Plan, ticks: Ticks) -> None:
    """The daemon may die between a tick and its cursor; Dagster starts nothing for run keys that it has seen."""
    put(plan, "a.jsonl", "1", "2", "3")
    first = ticks.tick()
    ticks.cursor = None
    again = ticks.tick()
    assert [one.run_key for one in again.run_requests or ()] == [one.run_key for one in first.run_requests or ()]


def test_a_store_that_is_gone_is_said_and_not_fatal(plan: Plan, ticks: Ticks, tmp_path: Path) -> None:
    put(plan, "a.jsonl", "1")
    ticks.tick()
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    assert keys(ticks.tick()) == ["a-00000"]


def test_what_it_waits_for_and_what_is_gone_is_the_reason_to_skip(plan: Plan, ticks: Ticks) -> None:
    put(plan, "a.jsonl", "1")
    put(plan, "b.jsonl", "2")
    ticks.tick()
    (plan.recipe.dataset_path / "b.jsonl").unlink()
    assert words(ticks.tick()) == "1 data drops known and unchanged, 1 gone: b.jsonl"
    assert ticks.partitions() == ["a-00000", "b-00000"]


def test_an_empty_landing_folder_is_no_fault_and_none_at_all_is(plan: Plan, ticks: Ticks) -> None:
    assert words(ticks.tick()) == "0 data drops known and unchanged"
    plan.recipe.dataset_path.rmdir()
    with pytest.raises(dg.Failure, match="does not exist"):
        ticks.tick()


def test_more_than_a_tick_takes_is_taken_by_the_next_ones(
    plan: Plan, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "MOST_SHARDS_A_TICK", 3)
    for number in range(4):
        put(plan, f"{number}.jsonl", "1", "2", "3")
    taken = [keys(ticks.tick()) for _ in range(4)]
    assert [len(one) for one in taken] == [3, 3, 2, 0]
    assert [key for one in taken for key in one] == ticks.partitions()


# --- what follows from changed inputs


class Automation:
    """The recipe's conditions, evaluated after each materialization that is reported."""

    def __init__(self, folder: Path) -> None:
        (folder / "ds.jsonl").write_text('{"videos": []}\n')
        recipe = Recipe("clips", "clips.yaml", "0", folder / "ds.jsonl", folder / "res.jsonl", (), Settings())
        self.graph = RecipeGraph(make_plan(recipe))
        self.defs = dg.Definitions.merge(
            build_recipe_defs(self.graph.plan), dg.Definitions(resources=project_resources(folder / "store"))
        )
        self.instance = dg.DagsterInstance.ephemeral()
        self.instance.add_dynamic_partitions("clips_shards", ["a", "b"])
        self.cursor: object = None

    def report(self, asset: dg.AssetKey, shard: str, version: str) -> None:
        event = dg.AssetMaterialization(asset, partition=shard, tags={"dagster/data_version": version})
        self.instance.report_runless_asset_event(event)

    def requested(self) -> dict[str, set[str]]:
        result = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)  # type: ignore[arg-type]
        self.cursor = result.cursor
        found = {key: result.get_requested_partitions(key) for key in (self.graph.filtered, self.graph.export)}
        return {key.path[-1]: {str(one) for one in wanted} for key, wanted in found.items() if wanted}


def test_changed_content_is_carried_to_the_export_and_the_same_content_is_not(tmp_path: Path) -> None:
    what = Automation(tmp_path)
    graph = what.graph
    for shard in ("a", "b"):
        for asset in (graph.samples, graph.filtered, graph.export):
            what.report(asset, shard, "1")
    assert what.requested() == {}
    what.report(graph.samples, "a", "1")
    assert what.requested() == {}
    what.report(graph.samples, "a", "2")
    assert what.requested() == {"filtered": {"a"}, "export": {"a"}}
    assert what.requested() == {}


def test_a_new_shard_is_left_to_its_own_run(tmp_path: Path) -> None:
    what = Automation(tmp_path)
    what.requested()
    what.report(what.graph.samples, "a", "1")
    assert what.requested() == {}
