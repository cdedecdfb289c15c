"""The asset `<recipe>/evidence`: made by hand, or by runs where the recipe asks; its pictures are in its metadata."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dj_assets import evidence as engine
from dj_assets import workers
from dj_assets.cli.backfill import choose_assets
from dj_assets.cli.webserver import ON_DEMAND_TAG, Asset
from dj_assets.defs import assets
from dj_assets.defs.assets import RecipeGraph, build_recipe_defs
from dj_assets.defs.jobs import run_recipe
from dj_assets.defs.metadata import MAX_PREVIEW_BYTES
from dj_assets.defs.resources import project_resources
from dj_assets.errors import MediaError
from dj_assets.plan import Plan
from dj_assets_tests.defs.small_project import MOTION, figures, make_test_plan

SHARD = "ds-00000"
URI = "](data:image/jpeg;base64,"


@pytest.fixture
def folder(tmp_path: Path, moving_2px: Path, still: Path) -> Iterator[Path]:
    """A dataset of one that moves by 2 px a frame, one that does not, and one that is no video."""
    for name, source in (("moving", moving_2px), ("still", still)):
        (tmp_path / f"{name}.mp4").write_bytes(source.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"no media" * 100)
    lines = [json.dumps({"videos": [f"{name}.mp4"]}) for name in ("moving", "still", "broken")]
    (tmp_path / "ds.jsonl").write_text("".join(f"{line}\n" for line in lines))
    yield tmp_path
    workers.close_pools()


def a_plan(folder: Path, *, min_score: float = 1.0, **settings: Any) -> Plan:
    return make_test_plan(folder, steps={MOTION: {"min_score": min_score}}, **settings)


def process(plan: Plan, instance: dg.DagsterInstance) -> None:
    report = run_recipe(plan, instance=instance, store_root=plan.recipe.dataset_path.parent / "store")
    assert report.success, [shard.failure for shard in report.failed]


def materialize_by_hand(plan: Plan, instance: dg.DagsterInstance) -> None:
    resources = project_resources(plan.recipe.dataset_path.parent / "store")
    defs = dg.Definitions.merge(build_recipe_defs(plan), dg.Definitions(resources=resources))
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance, partition_key=SHARD, asset_selection=[RecipeGraph(plan).evidence], raise_on_error=False
    )
    assert result.success


def pictures(found: dict[str, Any]) -> dict[str, bytes]:
    """The pictures in an asset's metadata."""
    texts = {name: value for name, value in found.items() if isinstance(value, str) and URI in value}
    return {name: base64.b64decode(text.partition(URI)[2].removesuffix(")")) for name, text in texts.items()}


def test_no_run_draws_for_a_recipe_that_asks_for_nothing_and_a_moved_bound_decodes_nothing(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(a_plan(folder), instance)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a video was opened")

    monkeypatch.setattr(workers, "_pool", refuse)
    moved = a_plan(folder, min_score=0.5)
    process(moved, instance)
    assert instance.get_latest_materialization_event(RecipeGraph(moved).evidence) is None
    assert not engine.evidence_folder(moved.recipe).exists()


def test_by_hand_it_has_a_contact_sheet_in_its_metadata_and_beside_the_export(
    folder: Path, instance: dg.DagsterInstance
) -> None:
    plan = a_plan(folder)
    process(plan, instance)
    materialize_by_hand(plan, instance)
    found = figures(instance, RecipeGraph(plan).evidence, SHARD)
    assert (found["sheets"], found["not_drawn"]) == (0, 0)
    sheet = engine.evidence_folder(plan.recipe) / SHARD / "contact_sheet.jpg"
    assert pictures(found) == {"contact_sheet": sheet.read_bytes()}
    assert sheet.read_bytes()[:2] == b"\xff\xd8" and sheet.stat().st_size <= MAX_PREVIEW_BYTES


def test_a_recipe_that_asks_has_its_pictures_from_its_run(folder: Path, instance: dg.DagsterInstance) -> None:
    plan = a_plan(folder, evidence={"kept": 1, "dropped": 1, "undecided": 1})
    process(plan, instance)
    found = figures(instance, RecipeGraph(plan).evidence, SHARD)
    assert (found["sheets"], found["not_drawn"]) == (2, 0)
    assert "contact_sheet" in pictures(found)
    names = sorted(path.parent.name for path in engine.evidence_folder(plan.recipe).rglob("*.webp"))
    assert names == ["dropped", "kept"], "a looping preview of each"


def test_pictures_of_earlier_verdicts_go_when_the_verdicts_change_and_no_other_file_does(
    folder: Path, instance: dg.DagsterInstance
) -> None:
    """A sample that was kept once, and is dropped now, once had a picture that says either."""
    asks = {"kept": 5, "dropped": 5}
    plan = a_plan(folder, evidence=asks)
    process(plan, instance)
    shard = engine.evidence_folder(plan.recipe) / SHARD
    [kept], [dropped] = list((shard / "kept").glob("*.jpg")), list((shard / "dropped").glob("*.jpg"))
    (shard / "kept" / "mine.jpg").write_bytes(b"mine")
    process(a_plan(folder, min_score=50.0, evidence=asks), instance)
    assert [path.name for path in (shard / "kept").iterdir()] == ["mine.jpg"]
    now = {path.stem for path in (shard / "dropped").iterdir()}
    assert now == {kept.stem, dropped.stem}


def test_a_contact_sheet_that_cannot_be_drawn_is_a_line_and_no_failure(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the asset failed for it, with every other picture drawn."""

    def refuse(*_: Any, **__: Any) -> bytes:
        raise MediaError("it takes too long", allowed="a small sheet", try_="ask for fewer")

    plan = a_plan(folder, evidence={"kept": 1, "undecided": 1})
    older = engine.evidence_folder(plan.recipe) / SHARD / "contact_sheet.jpg"
    process(plan, instance)
    assert older.exists()
    monkeypatch.setattr(engine, "contact_sheet", refuse)
    materialize_by_hand(plan, instance)
    found = figures(instance, RecipeGraph(plan).evidence, SHARD)
    assert (found["sheets"], found["not_drawn"]) == (1, 1)
    assert set(pictures(found)) <= {"kept"}
    assert not older.exists(), "nor does an older one pass for it"


def test_verdicts_of_other_bounds_are_not_drawn(folder: Path, instance: dg.DagsterInstance) -> None:
    process(a_plan(folder), instance)
    with pytest.raises(AssertionError):
        materialize_by_hand(a_plan(folder, min_score=0.5), instance)


def test_nobody_misses_what_is_made_by_hand_alone(folder: Path) -> None:
    assert ON_DEMAND_TAG == assets.ON_DEMAND_TAG, "stated twice, since the command line imports no Dagster"
    by_hand = {asset.key: asset.tags_by_key for asset in build_recipe_defs(a_plan(folder)).assets or []}  # type: ignore[union-attr]
    key = RecipeGraph(a_plan(folder)).evidence
    assert ON_DEMAND_TAG in next(tags[key] for tags in by_hand.values() if key in tags)
    asks = a_plan(folder, evidence={"kept": 1})
    asked = [asset.tags_by_key for asset in build_recipe_defs(asks).assets or []]  # type: ignore[union-attr]
    assert not any(ON_DEMAND_TAG in tags.get(key, {}) for tags in asked)
    export, evidence = Asset(("clips", "export")), Asset(("clips", "evidence"), is_on_demand=True)
    assert choose_assets([export, evidence], None) == [export]
    assert choose_assets([export, evidence], "evidence") == [evidence]
