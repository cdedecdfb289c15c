"""The curation recipe as a user runs it: three shards by a backfill of the web interface, then by the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dj_assets_tests.live import LiveProject, live_project
from dj_assets_tests.test_curation import RECIPE, moving, still, write_films

NODES = """{ assetNodes { groupName description assetKey { path } assetMaterializations(limit: 10) {
  partition metadataEntries { label ... on IntMetadataEntry { intValue } } } assetChecksOrError { ... on AssetChecks {
  checks { name executionForLatestMaterialization { status evaluation { success severity } } } } } } }"""

MAPPED = "video_curation/samples"
"""What `video_split_by_scene_mapper` makes."""

SHARDS = ("ds-00000", "ds-00001", "ds-00002")


def lay_out(folder: Path) -> None:
    """Three films in a shard each. The third begins with the very pictures that the first begins with; the second does
    not move."""
    films = {
        "two_shots": moving(1, dark=True) + still(2),
        "slides": still(5) + [255 - picture for picture in still(6)],
        "the_same_shot": moving(1, dark=True) + still(3),
    }
    write_films(folder, films)
    text = RECIPE.read_text(encoding="utf-8") + "dj_assets: {shard_size: 1}\n"
    (folder / "recipes" / RECIPE.name).write_text(text, encoding="utf-8")
    (folder / "recipes" / "clips.yaml").unlink()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveProject]:
    with live_project(tmp_path / "p", num_videos=0, prepare=lay_out) as live:
        yield live


def exported(live: LiveProject) -> list[dict]:
    path = live.folder / "outputs" / "video_curation_output" / "res.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files(live: LiveProject) -> dict[Path, int]:
    """When each video, and each fact in the store, was written: what is made or measured anew shows here."""
    facts = (live.folder / ".dj_assets" / "store" / "measures").rglob("*.parquet")
    return {path: path.stat().st_mtime_ns for path in (*live.folder.rglob("*.mp4"), *facts)}


def nodes(live: LiveProject) -> dict[str, dict]:
    return {"/".join(node["assetKey"]["path"]): node for node in live.graphql(NODES)["assetNodes"]}


def figures(node: dict) -> dict[str, dict[str, int]]:
    """Shard → whole numbers of its newest materialization."""
    found: dict[str, dict[str, int]] = {}
    for one in node["assetMaterializations"]:
        numbers = {entry["label"]: entry["intValue"] for entry in one["metadataEntries"] if "intValue" in entry}
        found.setdefault(one["partition"], numbers)
    return found


@pytest.mark.weights
def test_every_door_gives_the_same_and_nothing_is_made_twice(live: LiveProject) -> None:
    backfill = live.dj_assets("backfill", f"recipes/{RECIPE.name}", "--all", "--wait")
    assert backfill.exit_code == 0, backfill.output
    kept, made = exported(live), files(live)
    [clip] = [Path(video) for record in kept for video in record["videos"]]
    assert clip.name.startswith("two_shots__dj_")
    assert len([path for path in made if path.suffix == ".mp4"]) == 3 + 6

    shown = nodes(live)
    assert {node["groupName"] for node in shown.values()} == {"video_curation"}
    assert "`__dj__produced_data__/video_split_by_scene_mapper` beside each video" in shown[MAPPED]["description"]
    assert {shard: one["files_made"] for shard, one in figures(shown[MAPPED]).items()} == dict.fromkeys(SHARDS, 2)
    checks = [check["executionForLatestMaterialization"] for n in shown.values() for check in _checks(n)]
    assert len(checks) > 20
    assert not [one for one in checks if not one["evaluation"]["success"] and one["evaluation"]["severity"] == "ERROR"]

    again = live.dj_assets("process", f"recipes/{RECIPE.name}")
    assert again.exit_code == 0, again.output
    assert exported(live) == kept
    assert files(live) == made
    assert live.dj_assets("stale").stdout.strip() == "video_curation: 3 shards, nothing is stale"

    why = live.dj_assets("why", str(clip)).stdout
    assert "ds.jsonl:1#1 (recipe video_curation) was made of ds.jsonl:1 (video_curation__1)" in why
    assert f"{clip}: 0 s to 2 s of {live.folder / 'two_shots.mp4'}" in why
    assert "a copy of ds.jsonl:1#1, which comes first" in live.dj_assets("why", "ds.jsonl:3#1").stdout


def _checks(node: dict) -> list[dict]:
    """Those of an asset that were carried out."""
    found = node["assetChecksOrError"].get("checks", [])
    return [check for check in found if check["executionForLatestMaterialization"]]
