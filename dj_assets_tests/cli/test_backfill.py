"""backfill, retry-failed, stale, reload and drops rm, against one real webserver and daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from dj_assets.cli import command_line
from dj_assets.cli.backfill import find_wanted, launch_params, ranges_of
from dj_assets.cli.backfills import Backfill
from dj_assets.cli.retry_failed import last_failed
from dj_assets.cli.webserver import Asset, Partitions, inputs_first
from dj_assets_tests.live import LiveProject, live_project

SAMPLES = Asset(("clips", "samples"))
STATS = Asset(("clips", "stats", "video_duration_filter"), frozenset({SAMPLES.path}))
FILTERED = Asset(("clips", "filtered"), frozenset({SAMPLES.path, STATS.path}))
ASSETS = [SAMPLES, STATS, FILTERED]
SHARDS = ["ds-00000", "ds-00001", "ds-00002", "ds-00003"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    """Recipe clips over four videos, one to a shard; 0.2 s drops the first."""
    with live_project(tmp_path_factory.mktemp("live") / "project", num_videos=4) as project:
        yield project


def kept(live: LiveProject) -> list[str]:
    """Names of the exported videos."""
    lines = (live.folder / "outputs" / "clips" / "res.jsonl").read_text().splitlines()
    return [Path(json.loads(line)["videos"][0]).name for line in lines]


def all_made(live: LiveProject) -> None:
    """Whatever the tests before it have left."""
    assert live.dj_assets("reload").exit_code == 0
    result = live.dj_assets("backfill", "clips", "--missing", "--failed", "--stale", "--wait")
    assert result.exit_code == 0, result.stderr


def test_a_failed_shard_is_named_with_its_reason_and_alone_made_again_once_it_is_mended(live: LiveProject) -> None:
    manifest = live.folder / "ds.jsonl"
    lines = manifest.read_text()
    manifest.write_text("".join(lines.splitlines(keepends=True)[:3]))  # the last shard is gone

    result = live.dj_assets("backfill", "recipes/clips.yaml", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[:2] for line in result.stdout.splitlines() if "ds-00000" in line] == [
        ["samples", "4"],
        ["stats/video_duration_filter", "4"],
        ["filtered", "4"],
        ["export", "4"],
    ]
    assert live.graphql("{ partitionBackfillsOrError { ... on PartitionBackfills { results { id } } } }") == {
        "partitionBackfillsOrError": {"results": []}
    }
    assert "nothing to retry" in live.dj_assets("retry-failed", "clips").stdout

    result = live.dj_assets("backfill", "recipes/clips.yaml", "--title", "every clip", "--wait")
    assert result.exit_code == 1, result.stdout + result.stderr
    assert ": 4 partitions" in result.stdout and f"{live.url}/runs/b/" in result.stdout
    assert "partition ds-00003 failed" in result.stderr
    assert "clips__samples: partition ds-00003 has no shard" in result.stderr
    assert "export 3/4 (1 failed)" in result.stderr
    assert kept(live) == ["clip2.mp4", "clip3.mp4"]
    assert live.graphql("{ partitionBackfillsOrError { ... on PartitionBackfills { results { title } } } }") == {
        "partitionBackfillsOrError": {"results": [{"title": "every clip"}]}
    }

    manifest.write_text(lines)
    result = live.dj_assets("retry-failed", "--wait")
    assert result.exit_code == 0, result.stderr
    assert ": 1 partition\n" in result.stdout
    assert kept(live) == ["clip2.mp4", "clip3.mp4", "clip4.mp4"]
    assert "nothing to retry" in live.dj_assets("retry-failed", "clips").stdout
    assert "none is missing or failed" in live.dj_assets("backfill", "clips").stdout


def test_a_changed_bound_is_stale_until_its_assets_are_made_again_and_stats_are_not(live: LiveProject) -> None:
    all_made(live)
    assert live.dj_assets("stale", "--exit-code").exit_code == 0
    recipe = live.folder / "recipes" / "clips.yaml"
    recipe.write_text(recipe.read_text().replace("min_duration: 0.2", "min_duration: 0.1"))
    assert "edited since it was loaded: clips.yaml" in live.dj_assets("stale", "clips").stderr
    assert live.dj_assets("reload").exit_code == 0

    result = live.dj_assets("stale", "clips", "--exit-code")
    assert result.exit_code == 1
    assert "edited" not in result.stderr
    assert "filtered   stale        4   has a new code version" in result.stdout
    found = json.loads(live.dj_assets("stale", "--json").stdout)["clips"]
    assert {name: sorted(one["stale"]) for name, one in found.items()} == {
        "samples": [],
        "stats/video_duration_filter": [],
        "filtered": SHARDS,
        "export": SHARDS,
    }

    result = live.dj_assets("backfill", "clips", "--stale", "--wait")
    assert result.exit_code == 0, result.stderr
    assert "samples" not in result.stdout
    assert kept(live) == ["clip1.mp4", "clip2.mp4", "clip3.mp4", "clip4.mp4"]
    assert live.dj_assets("stale", "--exit-code").exit_code == 0


def test_ctrl_c_ends_the_waiting_and_not_the_backfill(live: LiveProject) -> None:
    arguments = [sys.executable, "-c", "from dj_assets.cli import main; main()", "backfill", "clips", "--all", "--wait"]
    with subprocess.Popen(
        [*arguments, "--only", "samples"], cwd=live.folder, env=live.environment, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "samples 0/4\n"
        waiting.send_signal(signal.SIGINT)
        said = waiting.stderr.read()
    assert waiting.returncode == 130 and "goes on; its page can stop it: " in said
    backfill_id = said.rpartition("/")[2].strip()
    query = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
    live.wait_for(
        lambda: live.graphql(query, id=backfill_id)["partitionBackfillOrError"]["status"] == "COMPLETED_SUCCESS"
    )


def test_assets_with_different_shards_are_one_backfill(live: LiveProject) -> None:
    """What `partitionsByAssets` takes: here the whole of one asset, and a shard of another."""
    all_made(live)
    wanted = {SAMPLES: ["ds-00001"], FILTERED: ["ds-00000", "ds-00001"]}
    params = launch_params("clips", SHARDS, wanted)
    answer = live.graphql(
        """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
             ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }""",
        params=params,
    )["launchPartitionBackfill"]
    query = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
        assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
            assetKey { path } numPartitionsTargeted } } } } } }"""
    found = live.graphql(query, id=answer["backfillId"])["partitionBackfillOrError"]["assetBackfillData"]
    assert {one["assetKey"]["path"][-1]: one["numPartitionsTargeted"] for one in found["assetBackfillStatuses"]} == {
        "samples": 1,
        "filtered": 2,
    }


def test_reload_names_a_broken_recipe_and_keeps_the_others(live: LiveProject) -> None:
    broken = live.folder / "recipes" / "broken.yaml"
    broken.write_text("dataset_path: ds.jsonl\nexport_path: o/r.jsonl\nprocess:\n  - video_duratio_filter: {}\n")
    result = live.dj_assets("reload")
    assert result.exit_code == 2
    assert "1 recipe loaded, 1 broken" in result.stdout
    assert "operator 'video_duratio_filter' is not known" in result.stderr
    assert "did you mean video_duration_filter" in live.dj_assets("stale", "broken").stderr
    broken.unlink()
    assert live.dj_assets("reload").exit_code == 0


def test_what_cannot_be_launched_is_refused_in_three_parts(live: LiveProject) -> None:
    for arguments, said in {
        ("backfill", "nope"): "allowed: clips",
        ("backfill", "clips", "--shards", "ds-00009"): "allowed: ds-00000, ds-00001, ds-00002, ds-00003",
        ("backfill", "clips", "--only", "sample"): "allowed: samples, stats,",
        ("backfill", "clips", "--all", "--stale"): "one of --shards, --all",
        ("retry-failed", "nope"): "allowed: clips",
    }.items():
        result = live.dj_assets(*arguments)
        assert result.exit_code == 2, result.stdout
        assert said in result.stderr and "  try: " in result.stderr


def test_what_dagster_refuses_is_told_with_its_reason(live: LiveProject) -> None:
    result = live.dj_assets("backfill", "clips", "--all", "--title", "100%")
    assert result.exit_code == 1
    assert "says PythonError" in result.stderr and '"100%" is not a valid title' in result.stderr


def test_definitions_that_do_not_load_are_told_with_their_reason(live: LiveProject) -> None:
    """A package of our name in the project's folder comes before ours in the code server."""
    shadow = live.folder / "dj_assets" / "__init__.py"
    shadow.parent.mkdir()
    shadow.write_text("raise RuntimeError('the wrong package')\n")
    try:
        for command in (["reload"], ["stale"], ["backfill", "clips"]):
            result = live.dj_assets(*command)
            assert result.exit_code == 1
            assert "location dj_assets failed to load" in result.stderr and "the wrong package" in result.stderr
    finally:
        shadow.unlink()
        shadow.parent.rmdir()
        assert live.dj_assets("reload").exit_code == 0


def test_drops_rm_forgets_what_is_gone_and_refuses_what_is_there(live: LiveProject) -> None:
    lines = (live.folder / "ds.jsonl").read_text()
    result = live.dj_assets("drops", "rm", "recipes/clips.yaml", "ds-00003", "--yes")
    assert result.exit_code == 2 and "still has shard ds-00003" in result.stderr
    assert live.dj_assets("drops", "rm", "recipes/clips.yaml", "ds-00009", "--yes").exit_code == 2

    (live.folder / "ds.jsonl").write_text("".join(lines.splitlines(keepends=True)[:3]))
    asked = live.dj_assets("drops", "rm", "recipes/clips.yaml", "ds-00003", input="n\n")
    assert asked.exit_code == 1 and "Forget 1 partition of clips?" in asked.stdout
    assert "ds-00003" in live.dj_assets("backfill", "clips", "--all", "--dry-run").stdout
    result = live.dj_assets("drops", "rm", "recipes/clips.yaml", "ds-00003", "--yes")
    assert result.exit_code == 0 and "until dj-assets gc" in result.stdout
    assert "ds-00003" not in live.dj_assets("backfill", "clips", "--all", "--dry-run").stdout

    (live.folder / "ds.jsonl").write_text(lines)
    assert live.dj_assets("drops", "add", "recipes/clips.yaml").exit_code == 0


# --- without a webserver


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJ_ASSETS_URL", "http://127.0.0.1:9")
    for command in (["stale"], ["reload"], ["retry-failed"], ["backfill", "clips"]):
        result = CliRunner().invoke(command_line, command)
        assert result.exit_code == 1
        assert "nobody answers at http://127.0.0.1:9" in result.stderr and "dj-assets ui" in result.stderr


@contextmanager
def answering(text: str) -> Iterator[str]:
    """The address of a server that has this one answer to every question."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_something_else_answers() -> None:
    with answering("<html>") as url:
        result = CliRunner().invoke(command_line, ["stale", "--url", url])
    assert result.exit_code == 1 and "is not a Dagster webserver: '<html>'" in result.stderr


def test_a_webserver_of_another_project() -> None:
    entries = [{"name": "theirs", "locationOrLoadError": {"__typename": "RepositoryLocation"}}]
    with answering(json.dumps({"data": {"workspaceOrError": {"locationEntries": entries}}})) as url:
        result = CliRunner().invoke(command_line, ["stale", "--url", url])
    assert result.exit_code == 1
    assert "serves no location dj_assets" in result.stderr and "it serves: theirs" in result.stderr


def test_a_webserver_that_does_not_know_the_query() -> None:
    with answering(json.dumps({"errors": [{"message": "Cannot query field 'pools'"}]})) as url:
        result = CliRunner().invoke(command_line, ["stale", "--url", url])
    assert result.exit_code == 1 and "Cannot query field 'pools'" in result.stderr


def test_what_comes_after_a_failed_asset_is_made_too() -> None:
    nothing = {"missing": [], "failed": [], "stale": []}
    states = {SAMPLES.path: nothing, STATS.path: {**nothing, "failed": ["b"]}, FILTERED.path: {**nothing, "stale": "c"}}
    partitions = Partitions(("c", "b", "a"), states)
    assert find_wanted(ASSETS, partitions, ["failed"]) == {STATS: ["b"], FILTERED: ["b"]}
    assert find_wanted(ASSETS, partitions, ["failed", "stale"]) == {STATS: ["b"], FILTERED: ["c", "b"]}
    assert find_wanted([SAMPLES], partitions, ["failed"]) == {}


def test_inputs_come_first() -> None:
    assert inputs_first(ASSETS) == inputs_first(ASSETS[::-1]) == ASSETS


def test_ranges_go_by_the_order_of_registration() -> None:
    assert ranges_of(["c", "a", "b", "d"], ["a", "b", "d"]) == [("a", "d")]
    assert ranges_of(["c", "a", "b", "d"], ["c", "b", "d"]) == [("c", "c"), ("b", "d")]
    assert ranges_of(["c"], []) == []


def test_the_last_failed_backfill_is_one_that_was_not_retried() -> None:
    def backfill(id_: str, status: str, parent: str = "") -> Backfill:
        return Backfill(id_, status, ("clips",), parent, "", {})

    first, retry = backfill("first", "COMPLETED_FAILED"), backfill("retry", "COMPLETED_FAILED", "first")
    assert last_failed([retry, first]) == retry
    assert last_failed([backfill("again", "REQUESTED", "retry"), retry, first]) is None
    assert last_failed([backfill("other", "COMPLETED_SUCCESS"), first]) == first
