"""`dj-assets analyze` over sixty made clips, six of them broken: what is written is what the store holds."""

from __future__ import annotations

import csv
import json
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from dj_assets.defs.project import dagster_home
from dj_assets_tests.cli.project_store import dj_assets
from dj_assets_tests.cli.sixty_clips import BROKEN, HOSTILE, seconds, size, write_project

RECIPE = "recipes/sixty.yaml"
OUT = Path("out/res_analysis")
GOOD = range(54)
SECONDS = [*map(seconds, GOOD), 1 / 12]
"""Of the 55 whose length can be told: the one of one frame, too."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sixty") / "project"
    write_project(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a store of its own that knows nothing yet."""
    return enter(shutil.copytree(made, tmp_path / "project"), monkeypatch)


@pytest.fixture(scope="module")
def analysed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after `analyze`; tests that share it change nothing."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("analysed") / "project")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        result = dj_assets("analyze", RECIPE)
        assert result.exit_code == 3, result.output
        (folder / "said.txt").write_text(result.output)
    return folder


def enter(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.chdir(folder)
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        patch.delenv(name, raising=False)
    return folder


def overall(folder: Path) -> dict[str, dict[str, str]]:
    """stat → figure → text."""
    with (folder / OUT / "overall.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    return {stat: {row[0]: row[at] for row in rows} for at, stat in enumerate(head) if stat}


def ask(sql: str) -> list[dict]:
    result = dj_assets("sql", sql, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_numbers_are_those_of_the_clips(analysed: Path) -> None:
    found = overall(analysed)
    duration, width = found["video_duration"], found["video_width"]
    assert float(duration["mean"]) == pytest.approx(statistics.fmean(SECONDS), abs=1e-6)
    assert float(duration["std"]) == pytest.approx(statistics.stdev(SECONDS), abs=1e-6)
    assert float(duration["50%"]) == pytest.approx(statistics.median(SECONDS), abs=1e-6)
    deciles = statistics.quantiles(SECONDS, n=10, method="inclusive")
    assert float(duration["10%"]) == pytest.approx(deciles[0], abs=1e-6)  # asked for by `percentiles`
    assert float(width["mean"]) == pytest.approx(statistics.fmean([*(size(one)[1] for one in GOOD), 128]))


def test_what_was_not_measured_is_counted_by_reason_and_in_no_figure(analysed: Path) -> None:
    found = overall(analysed)
    motion, duration = found["video_motion_score"], found["video_duration"]
    assert (motion["videos"], motion["count"], duration["count"]) == ("60", "54", "55")
    for status in set(BROKEN.values()):
        assert int(motion[status]) == list(BROKEN.values()).count(status)
    assert int(duration["too_short"]) == 0
    assert float(motion["undecided_share"]) == 6 / 60 and float(duration["undecided_share"]) == 5 / 60
    assert (motion["skipped"], motion["not_measured"]) == ("0", "0")


def test_figures_are_those_that_sql_finds_in_the_store(analysed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(analysed, monkeypatch)
    rows = ask(
        "SELECT stat, count(value) AS n, avg(value) AS mean, stddev_samp(value) AS std, min(value) AS low, "
        "max(value) AS high, quantile_cont(value, 0.95) AS p95, count(*) AS videos FROM stats GROUP BY stat"
    )
    assert len(rows) == 5
    for row in rows:
        found = overall(analysed)[row["stat"]]
        assert (int(found["count"]), int(found["videos"])) == (row["n"], row["videos"])
        for ours, theirs in (("mean", "mean"), ("std", "std"), ("min", "low"), ("max", "high"), ("95%", "p95")):
            assert float(found[ours]) == pytest.approx(row[theirs]), (row["stat"], ours)
    [pair] = ask(
        "SELECT corr(a.value, b.value) AS r, count(*) AS n FROM stats a JOIN stats b USING (sample_id) WHERE a.stat = "
        "'video_duration' AND b.stat = 'video_motion_score' AND a.value IS NOT NULL AND b.value IS NOT NULL"
    )
    record = json.loads((analysed / OUT / "analysis.json").read_text())
    ours = next(
        one
        for one in record["analysis"]["pairs"]
        if (one["first"], one["second"]) == ("video_duration", "video_motion_score")
    )
    assert ours["videos"] == pair["n"] == 54 and ours["pearson"] == pytest.approx(pair["r"])


def test_costs_are_those_that_the_store_has_and_short_circuit_spares_what_the_header_drops(
    analysed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(analysed, monkeypatch)
    record = json.loads((analysed / OUT / "analysis.json").read_text())
    motion = next(one for one in record["analysis"]["costs"] if one["step"] == "video_motion_score_filter")
    [store] = ask(
        "SELECT sum(cost_seconds) AS seconds, avg(cost_seconds) FILTER (status = 'ok') AS each "
        "FROM facts WHERE stat = 'video_motion_score'"
    )
    assert motion["seconds"] == pytest.approx(store["seconds"])
    assert motion["seconds_per_video"] == pytest.approx(store["each"])
    assert motion["video_minutes"] == pytest.approx(sum(map(seconds, GOOD)) / 60, abs=1e-6)
    assert (motion["measured"], motion["timed"]) == (54, 54)
    narrow_or_short = [one for one in GOOD if seconds(one) < 2 or size(one)[1] < 65]
    assert motion["spared"] == motion["spared_measured"] == len(narrow_or_short) + 1  # the one of one frame


def test_the_page_names_each_broken_file_and_its_reason(analysed: Path) -> None:
    html = (analysed / OUT / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in html and "&lt;img src=x onerror=alert(1)&gt;.mp4" in html
    for name, status in BROKEN.items():
        assert name == HOSTILE or f"vids/{name}" in html
        assert status in html
    assert not re.search(r"https?://", re.sub(r"data:image[^\"]*", "", html))
    said = (analysed / "said.txt").read_text()
    assert "something could not be measured in 7 samples, 1 malformed line among them" in said


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_without_a_network_shows_it(analysed: Path, tmp_path: Path) -> None:
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    nobody = "--host-resolver-rules=MAP * ~NOTFOUND"
    page = (analysed / OUT / "index.html").as_uri()
    done = subprocess.run([*browser, nobody, "--dump-dom", page], capture_output=True, text=True, timeout=120)
    assert "54 of 60 videos" in done.stdout and "What it costs" in done.stdout


def test_runs_and_the_page_are_recorded_in_dagster(analysed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(analysed, monkeypatch)
    with dg.DagsterInstance.from_config(str(dagster_home())) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["sixty", "analysis"]))
        assert event is not None and event.asset_materialization is not None
        found = event.asset_materialization.metadata
        stats = instance.get_latest_materialization_event(dg.AssetKey(["sixty", "stats", "video_motion_score_filter"]))
        assert stats is not None
        assert instance.get_latest_materialization_event(dg.AssetKey(["sixty", "filtered"])) is None
    assert found["video_motion_score_measured"].value == 54
    assert "| video_duration |" in str(found["overall"].value)
    assert str(found["video_duration_hist"].value).startswith("![video_duration-hist](data:image/png;base64,")
    assert found["path_page"].value == str(analysed / OUT / "index.html")


# --- what is asked, and what is not


def test_no_measure_decodes_nothing_and_says_so(project: Path) -> None:
    dj_assets("process", RECIPE, "--video_duration_filter.min_duration", "2.0")
    before = ask("SELECT count(*) AS n FROM facts_log")
    result = dj_assets("analyze", RECIPE, "--no-measure", "-o", "look")
    assert result.exit_code == 3
    assert ask("SELECT count(*) AS n FROM facts_log") == before
    record = json.loads((project / "look" / "analysis.json").read_text())
    motion = record["analysis"]["stats"][-1]
    [skipped] = ask("SELECT count(*) AS n FROM stats WHERE stat = 'video_motion_score' AND status = 'skipped'")
    assert motion["without"]["skipped"] == skipped["n"] > 0
    assert f"{skipped['n']} numbers skipped" in result.output
    assert not (project / OUT).exists()


def test_with_no_measure_and_nothing_measured_the_error_says_what_to_do(project: Path) -> None:
    result = dj_assets("analyze", RECIPE, "--no-measure")
    assert result.exit_code == 1
    assert "no shard of sixty was ever measured" in result.output and "try: dj-assets analyze" in result.output


def test_a_recipe_that_drops_what_is_undecided_exits_with_0(project: Path) -> None:
    dj_assets("process", RECIPE)
    assert dj_assets("analyze", RECIPE, "--no-measure", "--dj_assets.on_undecided", "drop").exit_code == 0


def test_a_percentile_beyond_1_is_an_error(project: Path) -> None:
    result = dj_assets("analyze", RECIPE, "--percentiles", "[95]")
    assert result.exit_code == 2
    assert "a list of numbers from 0 to 1" in result.output
