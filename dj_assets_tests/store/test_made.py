"""What mappers made: found again by content and text, walked back to the dataset, asked for in SQL, and tidied."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dj_assets.store import gc, index
from dj_assets.store.lineage import Question, blast_radius, explain, stages_of
from dj_assets.store.products import Kept, ProductFile, ProductKey, fact_of
from dj_assets.store.store import Store
from dj_assets_tests.store.made import FRAMES, MOTION_ID, SCENES, SCENES_ID, SHARD, remember, write_stages
from dj_assets_tests.store.nouns import PROVENANCE


@pytest.fixture
def staged(store: Store) -> Store:
    return write_stages(store.root)


def test_products_are_found_by_content_and_text(store: Store) -> None:
    keys = {ProductKey("aa" * 16): "x", ProductKey("aa" * 16, "one"): "y", ProductKey("aa" * 16, "t\ud83d"): "z"}
    about = {"mapper": "m", "measure_id": "cc" * 8, "device": "cpu", "cost_seconds": 1.0, "measured_at": "2026"}
    for key, name in keys.items():
        product = ProductFile(
            f"/p/{name}\udce9.mp4", 0.25, 1.0, "words \ud83d", content_hash="h", num_bytes=3, modified_ns=4
        )
        store.append_facts([fact_of(key, Kept((product, ProductFile(is_parent=True))), **about)], PROVENANCE)
    for status in ("unreadable", "timed_out"):
        lost = ProductKey(f"{len(status):02x}" * 16)
        store.append_facts([fact_of(lost, Kept((), status, "why"), **about)], PROVENANCE)
        keys[lost] = status
    found = store.find_products("m", "cc" * 8, [*keys, ProductKey("dd" * 16)])
    assert {keys[key]: len(kept.products) for key, kept in found.items()} == {"x": 2, "y": 2, "z": 2, "unreadable": 0}
    assert found[ProductKey("aa" * 16, "one")].products[0].path == "/p/y\udce9.mp4"
    assert found[ProductKey("aa" * 16)].products[1].is_parent
    assert store.find_products("m", "cc" * 8, list(keys), but_not_statuses={"unreadable"}).keys() == set(keys) - {
        key for key, name in keys.items() if name in ("unreadable", "timed_out")
    }


def test_a_picture_is_walked_back_to_the_line_of_the_dataset(staged: Store) -> None:
    for asked in ("ds.jsonl:3#2#1", "/v/b/frame_0.jpg"):
        story = explain(staged.root, asked)
        hops = [(one.sample_id, one.mapper, one.version, one.parent_id, one.parent_recipe) for one in story.origins]
        assert hops == [
            ("ds.jsonl:3#2#1", FRAMES, 2, "ds.jsonl:3#2", "r__2"),
            ("ds.jsonl:3#2", SCENES, 1, "ds.jsonl:3", "r__1"),
        ]
        [piece] = story.origins[1].products
        assert (piece["path"], piece["parent_path"], piece["begin_seconds"], piece["end_seconds"]) == (
            *("/v/b.mp4", "/v/film.mp4"),
            *(6.0, 9.9),
        )
        assert [(one.recipe, one.outcome) for one in story.decisions] == [
            ("r", "kept"),
            ("r__2", "kept"),
            ("r__1", "kept"),
        ]
    assert explain(staged.root, "/v/b/frame_0.jpg").found_as == "product"


def test_a_film_is_followed_to_what_became_of_it(staged: Store) -> None:
    story = explain(staged.root, "ds.jsonl:3", recipe="r")
    found = [(one["recipe"], one["sample_id"], one["outcome"], one["products"]) for one in story.descendants]
    assert found == [
        ("r__2", "ds.jsonl:3#1", "dropped", 1),
        ("r__2", "ds.jsonl:3#2", "kept", 1),
        ("r", "ds.jsonl:3#2#1", "kept", 1),
    ]
    assert story.origins == ()


def test_a_recipe_means_all_of_its_stages(staged: Store) -> None:
    staged.write_samples("r__x", SHARD, [], PROVENANCE)
    staged.write_samples("other__1", SHARD, [], PROVENANCE)
    assert stages_of(staged.root, "r") == ["r__1", "r__2", "r"]
    assert stages_of(staged.root, "r__2") == ["r__2"]


def test_what_rests_on_a_mapper_is_what_it_made_and_what_was_made_of_that(staged: Store) -> None:
    radius = blast_radius(staged.root, Question(operator=SCENES))
    assert [(one.recipe, one.samples) for one in radius.shards] == [("r", 1), ("r__2", 2)]
    assert [one["measure_id"] for one in radius.measures] == [SCENES_ID]
    assert [one["run_id"] for one in radius.runs] == ["run-1"]
    numbers = blast_radius(staged.root, Question(measure_id=MOTION_ID))
    assert [(one.recipe, one.samples) for one in numbers.shards] == [("r", 1), ("r__2", 2)], "what was kept by them"


def test_sql_has_every_hop(staged: Store) -> None:
    assert staged.refresh_index() is None
    hops = """
        WITH RECURSIVE hops AS (
            SELECT * FROM products WHERE path = '/v/b/frame_0.jpg'
            UNION ALL SELECT p.* FROM products p
            JOIN hops ON p.path = hops.parent_path AND p.recipe = hops.parent_recipe
        ) SELECT made_by, mapper_version, begin_seconds, end_seconds, parent_path FROM hops
    """
    with index.opened(staged.root) as connection:
        assert connection.execute(hops).fetchall() == [
            (FRAMES, 2, 1.5, 1.5, "/v/b.mp4"),
            (SCENES, 1, 6.0, 9.9, "/v/film.mp4"),
        ]


def test_products_that_no_sample_holds_can_go(staged: Store, tmp_path: Path) -> None:
    def a_file(name: str, *, days: float, **changes: int) -> ProductFile:
        path = tmp_path / name
        path.write_text(name)
        os.utime(path, (time.time() - days * 86400,) * 2)
        facts = path.stat()
        made = ProductFile(str(path), num_bytes=facts.st_size, modified_ns=facts.st_mtime_ns)
        return replace(made, **changes)  # type: ignore[arg-type]

    held, old, young = a_file("held", days=2), a_file("old", days=2), a_file("young", days=0.1)
    touched = a_file("touched", days=2, modified_ns=1)
    remember(staged, held, old, young, touched, ProductFile(is_parent=True))
    [film] = staged.read_samples("r__1", SHARD)
    listing = replace(film, videos=(replace(film.videos[0], path=held.path),))
    staged.write_samples("another", SHARD, [listing], PROVENANCE)

    assert gc.find_chores(staged.root).removals == ()
    chores = gc.find_chores(staged.root, products=True)
    assert [removal.path.name for removal in chores.removals] == ["old"]
    assert gc.do(staged.root, chores).removed == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["held", "touched", "young"]


def test_a_table_from_before_there_were_mappers_is_read(store: Store) -> None:
    """Files keep the columns that they were written with."""
    import pyarrow.parquet as pq

    from dj_assets.store.files import write_table
    from dj_assets.store.schemas import SAMPLES, sample_record
    from dj_assets_tests.store.nouns import a_sample

    new = ("parent_id", "parent_recipe", "made_by", "measure_id", "made")
    path = store.samples_path("r", SHARD)
    table = SAMPLES.pack([sample_record(a_sample(), {"recipe": "r", "shard": SHARD})]).drop_columns(list(new))
    write_table(path, SAMPLES, table, PROVENANCE)
    assert "made" not in pq.read_schema(path).names
    assert store.read_samples("r", SHARD) == [a_sample()]
    store.refresh_index()
    with index.opened(store.root) as connection:
        assert connection.execute("SELECT sample_id, parent_id, made FROM samples").fetchall() == [("ds:1", "", [])]
        assert connection.execute("SELECT count(*) FROM products").fetchall() == [(0,)]
