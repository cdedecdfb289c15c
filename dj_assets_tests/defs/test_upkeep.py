"""What is done at night: retries of what may have passed, a tidy store, exports put together anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.defs import upkeep
from dj_assets.defs.jobs import run_recipe
from dj_assets.defs.resources import StoreResource, project_resources
from dj_assets.defs.retries import wish_of
from dj_assets.plan import Plan
from dj_assets.store.rows import Provenance, Verdict
from dj_assets.store.store import Store
from dj_assets_tests.defs.small_project import FakeMeasure, make_test_plan, write_manifest
from dj_assets_tests.store.nouns import a_fact

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
PROVENANCE = Provenance(asset="clips/filtered", shard="", recipe="clips", recipe_sha256="0", code_version="1")


def asked(plan: Plan, store: Store, instance: dg.DagsterInstance) -> list[dg.RunRequest | dg.SkipReason]:
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=NIGHT,
        resources={"store": StoreResource(root=str(store.root))},
    )
    result = upkeep.retry_schedule(plan)(context)
    return list(result)  # type: ignore[call-overload]


@pytest.fixture
def kept_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A schedule opens its instance by reference, which one in memory has none of."""
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        yield instance


def test_shards_with_what_may_have_passed_are_retried_and_no_others(
    tmp_path: Path, kept_instance: dg.DagsterInstance
) -> None:
    instance = kept_instance
    write_manifest(tmp_path, 4)
    plan, store = make_test_plan(tmp_path), Store(tmp_path / "store")
    [skipped] = asked(plan, store, instance)
    assert isinstance(skipped, dg.SkipReason)

    for shard, status in (("a", "timed_out"), ("b", "unreadable"), ("c", "ok"), ("d", "missing"), ("gone", "crashed")):
        verdict = Verdict("ds:1", "undecided" if status != "ok" else "kept", status=status)  # type: ignore[arg-type]
        store.write_verdicts("clips", shard, [verdict], PROVENANCE)
    instance.add_dynamic_partitions("clips_shards", ["a", "b", "c", "d"])
    requests = [one for one in asked(plan, store, instance) if isinstance(one, dg.RunRequest)]
    assert [(one.partition_key, one.run_key) for one in requests] == [("a", "2026-11-23:a"), ("d", "2026-11-23:d")]
    assert all(wish_of(one.tags).statuses == frozenset(upkeep.MAY_PASS) for one in requests)


def test_small_files_of_facts_become_one(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    store = Store(tmp_path / "store")
    for number in range(3):
        [path] = store.append_facts([a_fact(number)], PROVENANCE)
    job = upkeep.tidy_job()
    assert job.execute_in_process(instance=instance, resources=project_resources(store.root)).success
    known = store.find_facts(a_fact(0).operator, a_fact(0).measure_id, [a_fact(n).content_hash for n in range(3)])
    assert len(known) == 3
    assert len(list(path.parent.glob("*.superseded"))) == 1


def test_exports_are_put_together_from_their_parts(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    write_manifest(tmp_path, 4)
    plan, other = make_test_plan(tmp_path, shard_size=2), make_test_plan(tmp_path, name="never_run")
    assert run_recipe(plan, instance=instance, store_root=tmp_path / "store").success
    export = plan.recipe.export_path
    before = export.read_bytes()
    export.unlink()
    job = upkeep.exports_job([other, plan])
    result = job.execute_in_process(instance=instance, resources=project_resources(tmp_path / "store"))
    assert result.success
    assert export.read_bytes() == before


def test_an_export_that_cannot_be_put_together_fails_after_the_others_are(
    tmp_path: Path, instance: dg.DagsterInstance, fake_measure: FakeMeasure
) -> None:
    plans = []
    for name in ("damaged", "sound"):
        write_manifest(tmp_path / name, 2)
        plans.append(make_test_plan(tmp_path / name, name=name))
        assert run_recipe(plans[-1], instance=instance, store_root=tmp_path / "store").success
        plans[-1].recipe.export_path.unlink()
    [part] = (tmp_path / "store" / "export" / "damaged").glob("*.part")
    part.write_bytes(b"no part")
    job = upkeep.exports_job(plans)
    with pytest.raises(dg.Failure, match="damaged: "):
        job.execute_in_process(instance=instance, resources=project_resources(tmp_path / "store"))
    assert plans[1].recipe.export_path.exists()
