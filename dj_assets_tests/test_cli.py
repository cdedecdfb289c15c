"""`dj-assets` as a user meets it: what is printed, which files are left, which code it exits with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from dj_assets.cli import command_line
from dj_assets_tests.videos import cut_short, numbered, write_video

HEADER_RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
keep_stats_in_res_ds: true
process:
  - video_duration_filter:
      min_duration: 0.75
"""

HEAVY = ("dagster", "torch", "cv2", "av", "easyocr", "pyarrow", "duckdb", "numpy", "rich", "pydantic")

RUN = "from dj_assets.cli import main; main()"

ALL_COMMANDS = [
    ("analyze",),
    ("check",),
    ("demo",),
    ("diff",),
    ("drops",),
    ("drops", "add"),
    ("drops", "rm"),
    ("backfill",),
    ("retry-failed",),
    ("stale",),
    ("tune",),
    ("reload",),
    ("drops", "list"),
    ("evidence",),
    ("gc",),
    ("lineage",),
    ("operators",),
    ("plan",),
    ("process",),
    ("rebuild",),
    ("rerun",),
    ("sql",),
    ("ui",),
    ("why",),
]


def dj_assets(*arguments: str) -> Result:
    """Run the command line in this process; what it lets escape fails the test."""
    result = CliRunner().invoke(command_line, arguments, prog_name="dj-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_manifest(folder: Path, *videos: str) -> None:
    records = [{"text": "<__dj__video>", "videos": [video]} for video in videos]
    (folder / "ds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """short.mp4: 0.5 s. long.mp4: 1 s. cut.mp4: half the bytes of long.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "short.mp4", numbered(num_frames=12), fps=24)
    write_video(folder / "long.mp4", numbered(num_frames=24), fps=24)
    cut_short(folder / "long.mp4", folder / "cut.mp4")
    return folder


@pytest.fixture
def project(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: recipes/length.yaml over short.mp4 and long.mp4, of which long.mp4 passes."""
    shutil.copytree(clips, tmp_path / "vids")
    write_manifest(tmp_path, "vids/short.mp4", "vids/long.mp4")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "length.yaml").write_text(HEADER_RECIPE)
    monkeypatch.chdir(tmp_path)
    for name in ("DJ_ASSETS_ROOT", "DJ_ASSETS_STORE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


# --- the whole command line


def test_help_is_at_once_and_loads_nothing_heavy() -> None:
    code = "import sys; from dj_assets.cli import main\n"
    code += "try: main()\nexcept SystemExit: print(*[name for name in sys.argv[2].split() if name in sys.modules])"
    times_seconds = []
    for _ in range(3):
        started = time.perf_counter()
        arguments = [sys.executable, "-c", code, "--help", " ".join(HEAVY)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        times_seconds.append(time.perf_counter() - started)
    assert "Usage: dj-assets" in done.stdout
    assert done.stdout.splitlines()[-1] == "", f"loaded: {done.stdout.splitlines()[-1]}"
    assert min(times_seconds) < 1.0


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_every_help_has_an_example(command: tuple[str, ...]) -> None:
    result = dj_assets(*command, "--help")
    assert result.exit_code == 0
    assert f"\n    dj-assets {' '.join(command)}" in result.stdout


def test_every_command_is_in_the_list_above() -> None:
    listed = {name for name, *_ in ALL_COMMANDS}
    assert listed == set(command_line.list_commands(click.Context(command_line)))


def test_version() -> None:
    from dj_assets import __version__

    assert dj_assets("--version").stdout == f"dj-assets, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("proces",), "Did you mean process?"),
        (("frobnicate",), f"Commands: {', '.join(sorted({name for name, *_ in ALL_COMMANDS}))}."),
        (("check", "--operator"), "--operators"),
        (("ui", "--prt", "1"), "--port"),
    ],
    ids=["command close to one", "command like none", "option of check", "option of ui"],
)
def test_misspelt_names_are_answered_with_the_nearest(arguments: tuple[str, ...], answer: str) -> None:
    result = dj_assets(*arguments)
    assert result.exit_code == 2
    assert answer in result.stderr


def test_a_fault_of_the_software_is_one_message_and_a_traceback_only_if_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by a bug")

    monkeypatch.setattr("dj_assets.recipe.load_recipe", broken)
    quiet = dj_assets("process", "recipes/length.yaml")
    verbose = dj_assets("process", "recipes/length.yaml", "--verbose")
    assert (quiet.exit_code, verbose.exit_code) == (1, 1)
    assert "a fault in dj-assets: ZeroDivisionError: by a bug" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in verbose.stderr


# --- process


def test_process_exports_says_so_and_finds_everything_again(project: Path) -> None:
    first = dj_assets("process", "--config", "recipes/length.yaml")
    assert first.exit_code == 0, first.stderr
    assert [Path(record["videos"][0]).name for record in lines(project / "out/res.jsonl")] == ["long.mp4"]
    rows = _rows(first.stdout)
    assert ["samples", "2"] in rows
    assert ["kept", "1"] in rows
    assert ["dropped", "1", "video_duration_filter:", "not", "video_duration", ">=", "0.75"] in rows
    assert ["video_duration_filter", "2", "0", "0", "0"] in rows, "measured, reused, skipped, unmeasured"
    assert str(project / "out/res.jsonl") in first.stdout
    assert ["min_duration"] not in rows
    assert "header: 2 of 2 videos" in first.stderr
    assert first.stderr.count("\n") < 4, f"the libraries underneath talk: {first.stderr}"

    [foretold] = _plan_record()["passes"]
    assert (foretold["steps"][0]["measure"], foretold["steps"][0]["reuse"]) == (0, 2)
    assert foretold["expected_seconds"] == 0.0

    again = dj_assets("process", "recipes/length.yaml", "--video-duration-filter.min-duration", "0.25")
    assert again.exit_code == 0
    assert len(lines(project / "out/res.jsonl")) == 2
    assert ["video_duration_filter", "0", "2", "0", "0"] in _rows(again.stdout), "moved bounds measure nothing"
    assert _recorded_runs(project) == {_run_id(first.stdout), _run_id(again.stdout)}


def test_the_tracer_is_turned_on_without_measuring_anything(project: Path) -> None:
    """Data-Juicer's own tracer writes nothing for video filters (1.6), or records without their stats (1.4)."""
    write_manifest(project, "vids/long.mp4", "vids/short.mp4", "vids/short.mp4", "vids/gone.mp4")
    process = ("process", "recipes/length.yaml", "--dj_assets.shard_size", "2", "--dj_assets.on_undecided", "drop")
    plain = dj_assets(*process)
    assert plain.exit_code == 0, plain.stderr
    folder = project / "out/res_trace"
    assert not folder.exists()

    misspelt = dj_assets(*process, "--open_tracer", "--op_list_to_trace", "video_duratoin_filter")
    assert (misspelt.exit_code, folder.exists()) == (2, False)
    assert "did you mean video_duration_filter?" in misspelt.stderr

    traced = dj_assets(*process, "--open_tracer", "true", "--op_list_to_trace", "video_duration_filter")
    assert traced.exit_code == 0, traced.stderr
    assert ["trace", str(folder)] in _rows(traced.stdout)
    assert ["video_duration_filter", "0", "3", "0", "1"] in _rows(traced.stdout), "nothing is measured again"
    rejected = lines(folder / "filter-video_duration_filter.jsonl")
    assert [path.name for path in folder.iterdir()] == ["filter-video_duration_filter.jsonl"]
    assert [record["__dj__verdict__"]["sample_id"] for record in rejected] == ["ds.jsonl:2", "ds.jsonl:3"]
    assert all(record["__dj__stats__"]["video_duration"] == record["__dj__verdict__"]["values"] for record in rejected)
    assert rejected == lines(project / "out/res_dropped.jsonl")[:2]

    assert dj_assets(*process).exit_code == 0
    assert not folder.exists(), "no trace tells of an export that is gone"


def test_undecided_samples_that_are_set_aside_make_the_exit_code_3(project: Path) -> None:
    write_manifest(project, "vids/long.mp4", "vids/cut.mp4", "vids/[gone].mp4")
    result = dj_assets("process", "recipes/length.yaml")
    assert result.exit_code == 3
    rows = _rows(result.stdout)
    assert ["undecided", "1", "missing"] in rows
    assert ["undecided", "1", "unreadable"] in rows
    assert any(row[:2] == ["vids/[gone].mp4", "missing"] for row in rows), "brackets are printed, not read as markup"
    assert "2 samples undecided and set aside" in result.stderr

    kept = dj_assets("process", "recipes/length.yaml", "--dj-assets.on-undecided", "keep")
    assert kept.exit_code == 0
    assert len(lines(project / "out/res.jsonl")) == 3


def test_a_failed_shard_makes_the_exit_code_1_and_the_others_go_on(project: Path) -> None:
    (project / "taken").write_text("a file where the export wants a folder")
    result = dj_assets("process", "recipes/length.yaml", "--export_path", "taken/res.jsonl", "--dj_assets.shard_size=1")
    assert result.exit_code == 1
    assert "shard ds-00000 failed:" in result.stderr
    assert "shard ds-00001 failed:" in result.stderr
    assert "try: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "2 shards in" in result.stdout


CANNOT_BE_RIGHT = {
    "no recipe": ([], "no recipe was named"),
    "two recipes": (["a.yaml", "--config", "b.yaml"], "2 recipes were named: b.yaml, a.yaml"),
    "no such file": (["recipes/lenght.yaml"], "did you mean length.yaml?"),
    "no such dataset": (["recipes/length.yaml", "--dataset_path", "dx.jsonl"], "did you mean ds.jsonl?"),
    "unknown key": (["recipes/length.yaml", "--export_pth", "x.jsonl"], "did you mean export_path"),
    "unknown option": (
        ["recipes/length.yaml", "--video_duration_filter.min_duraton", "1"],
        "did you mean min_duration",
    ),
    "wrong type": (["recipes/length.yaml", "--video_duration_filter.min_duration", "long"], '"long"'),
    "stray value": (["recipes/length.yaml", "--np", "2", "3"], "'3' belongs to no option"),
}


@pytest.mark.parametrize(("arguments", "answer"), CANNOT_BE_RIGHT.values(), ids=CANNOT_BE_RIGHT)
def test_what_cannot_be_right_exits_with_2_before_anything_runs(
    project: Path, arguments: list[str], answer: str
) -> None:
    result = dj_assets("process", *arguments)
    assert result.exit_code == 2
    assert answer in result.stderr
    assert "\n  allowed: " in result.stderr
    assert "\n  try: " in result.stderr
    assert "Traceback" not in result.output
    assert not (project / ".dj_assets").exists()


def test_a_terminal_that_knows_only_ascii_gets_everything(project: Path) -> None:
    write_manifest(project, "vids/zerstört.mp4")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    arguments = [sys.executable, "-c", RUN, "plan", "recipes/length.yaml"]
    done = subprocess.run(arguments, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.isascii()
    assert rb"zerst\xf6rt.mp4" in done.stdout


SLEEPY_OPERATOR = """\
import os, pathlib, time
from dj_assets.operators._contract import Bound, NoParams, Operator, Stat

def read(info, params):
    if info.num_frames_from_scan < 20:
        pathlib.Path(os.environ["ASLEEP"]).write_text(str(os.getpid()))
        time.sleep(600)
    return (1.0,)

OPERATOR = Operator(
    name="video_sleepy_filter", version=1, summary="sleeps over short videos", compute="header", params=NoParams,
    stats=(Stat("sleep", unit="s"),), bounds=(Bound("min_sleep", "sleep", "min", 0.0),), read=read,
)
"""


def test_ctrl_c_stops_the_workers_and_keeps_what_was_measured(project: Path, operator_package: Path) -> None:
    (operator_package / "video_sleepy_filter.py").write_text(SLEEPY_OPERATOR)
    (project / "recipes/length.yaml").write_text(
        "dataset_path: ds.jsonl\nexport_path: out/res.jsonl\nnp: 1\nprocess: [video_sleepy_filter]\n"
    )
    asleep = project / "asleep"
    arguments = [sys.executable, "-c", RUN, "process", "recipes/length.yaml"]
    run = subprocess.Popen(arguments, env={**os.environ, "ASLEEP": str(asleep)}, stderr=subprocess.PIPE, text=True)
    while not (asleep.exists() and asleep.read_text()):
        assert run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert stderr.strip().startswith("Interrupted. The worker processes are stopped. What was measured is kept")
    with pytest.raises(ProcessLookupError):
        os.kill(int(asleep.read_text()), 0)
    [step] = _plan_record()["passes"][0]["steps"]
    assert (step["reuse"], step["measure"]) == (1, 1), "the larger long.mp4 came first and is known"


def _rows(text: str) -> list[list[str]]:
    """The words of each printed line."""
    return [line.split() for line in text.splitlines()]


def _run_id(text: str) -> str:
    return next(row[1] for row in _rows(text) if row[:1] == ["ds-00000"])


def _recorded_runs(project: Path) -> set[str]:
    import dagster as dg

    with dg.DagsterInstance.from_config(str(project / ".dj_assets" / "dagster_home")) as instance:
        return {run.run_id for run in instance.get_runs()}


# --- plan


def test_plan_says_what_a_run_would_measure_and_writes_nothing(project: Path) -> None:
    write_manifest(project, "vids/long.mp4", "vids/long.mp4", "vids/short.mp4", "vids/gone.mp4")
    record = _plan_record()
    assert (record["samples"], record["videos"], record["distinct_contents"]) == (4, 4, 2)
    assert record["cannot_open"] == {"missing": 1}
    [pass_] = record["passes"]
    assert (pass_["pass"], pass_["decodes"], pass_["expected_seconds"]) == ("header", 0, None)
    assert (pass_["steps"][0]["measure"], pass_["steps"][0]["reuse"]) == (2, 0)
    shown = dj_assets("plan", "recipes/length.yaml")
    assert shown.exit_code == 0
    assert "cannot open: 1 missing" in shown.stdout
    assert "pass header: reads packets, decodes nothing" in shown.stdout
    assert not (project / ".dj_assets").exists()


def _plan_record() -> dict:
    result = dj_assets("plan", "recipes/length.yaml", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- check


def test_check_is_content_with_recipes_that_are_right(project: Path) -> None:
    result = dj_assets("check")
    assert result.exit_code == 0
    assert ["recipes/length.yaml", "1", "ok"] in _rows(result.stdout)


def test_check_shows_every_fault_of_every_recipe_with_its_line(project: Path) -> None:
    (project / "recipes/bad.yaml").write_text(
        "dataset_path: ds.jsonl\n"
        "process:\n"
        "  - video_duration_filter: {min_duration: 9, max_duration: 3}\n"
        "  - video_duratoin_filter:\n"
    )
    result = dj_assets("check")
    assert result.exit_code == 2
    rows = _rows(result.stdout)
    assert ["recipes/bad.yaml", "2", "errors"] in rows
    assert ["recipes/length.yaml", "1", "ok"] in rows, "a broken recipe takes no other down"
    assert "recipes/bad.yaml:3" in result.stdout
    assert "recipes/bad.yaml:4" in result.stdout
    assert "did you mean video_duration_filter" in result.stdout
    assert "1 recipe cannot be right" in result.stderr


def test_check_warns_of_a_dataset_that_is_not_there(project: Path) -> None:
    (project / "ds.jsonl").rename(project / "dt.jsonl")
    result = dj_assets("check")
    assert result.exit_code == 0
    assert "warning: dataset_path" in result.stdout
    assert "did you mean dt.jsonl?" in result.stdout


def test_check_refuses_two_files_that_would_be_the_same_recipe(project: Path) -> None:
    for name in ("a-b.yaml", "a_b.yaml"):
        (project / "recipes" / name).write_text(HEADER_RECIPE)
    result = dj_assets("check")
    assert result.exit_code == 2
    assert "recipes/a_b.yaml: recipes/a-b.yaml is recipe 'a_b' as well" in result.stdout


def test_check_without_recipes_says_where_to_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJ_ASSETS_ROOT", raising=False)
    result = dj_assets("check")
    assert result.exit_code == 2
    assert "run it in the project's folder" in result.stderr


def test_check_lists_operators_with_what_moves_the_number_and_what_the_verdict() -> None:
    result = dj_assets("check", "--operators")
    assert result.exit_code == 0
    rows = [row[:5] for row in _rows(result.stdout)]
    assert ["sampling_fps", "2.0", "the", "number", "frames"] in rows
    assert ["min_score", "0.25", "the", "verdict", "video_motion_score"] in rows
    assert "reversed_range" in result.stdout


def test_check_lists_the_operators_that_work_beside_one_that_does_not(operator_package: Path) -> None:
    (operator_package / "video_broken_filter.py").write_text("import nowhere_to_be_found\n")
    result = dj_assets("check", "--operators")
    assert result.exit_code == 1
    assert "video_motion_score_filter" in result.stdout
    assert "video_broken_filter" in result.stderr
    assert "nowhere_to_be_found" in result.stderr


# --- operators


def test_operators_lists_what_runs_and_what_is_refused_with_the_reason() -> None:
    result = dj_assets("operators")
    assert result.exit_code == 0
    rows = _rows(result.stdout)
    assert ["video_motion_score_filter", "filter", "cpu"] in [row[:3] for row in rows]
    assert ["video_duration_filter", "filter", "header"] in [row[:3] for row in rows]
    refused = result.stdout.partition("Refused here")[2]
    assert "vggt_mapper" in refused and "video_duration_filter" not in refused
    assert "on pictures" in refused


def test_operators_of_one_name_shows_only_its_options() -> None:
    result = dj_assets("operators", "video_motion_score_filter")
    assert result.exit_code == 0
    assert ["frame_field", "Data-Juicer's", "no", "other"] in [row[:4] for row in _rows(result.stdout)]
    assert "video_duration_filter" not in result.stdout and "Refused" not in result.stdout


def test_operators_answers_a_refused_name_with_the_reason() -> None:
    result = dj_assets("operators", "vggt_mapper")
    assert result.exit_code == 2
    assert "is refused here" in " ".join(result.stderr.split()) and "VGGT is cloned" in result.stderr


def test_operators_writes_its_tables_between_markers_and_nowhere_else(tmp_path: Path) -> None:
    from dj_assets.operator_table import BEGIN, END

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    assert dj_assets("operators", "--into", str(page)).exit_code == 0
    printed = dj_assets("operators", "--markdown").stdout
    assert page.read_text() == f"before\n{BEGIN}\n\n{printed}\n{END}\nafter\n"
    page.write_text("no markers\n")
    result = dj_assets("operators", "--into", str(page))
    assert result.exit_code == 2
    assert page.read_text() == "no markers\n"


# --- drops


def test_drops_are_new_until_they_are_added_and_vanished_when_they_go(project: Path) -> None:
    sized = ("recipes/length.yaml", "--dj_assets.shard_size", "1")
    listed = dj_assets("drops", "list", *sized)
    assert ["ds-00000", "ds.jsonl", "1", "new"] in _rows(listed.stdout)
    assert "2 shards new" in listed.stdout
    assert "2 shards added" in dj_assets("drops", "add", *sized).stdout
    assert "every shard was known" in dj_assets("drops", "add", *sized).stdout
    write_manifest(project, "vids/long.mp4")
    rows = _rows(dj_assets("drops", "list", *sized).stdout)
    assert ["ds-00000", "ds.jsonl", "1", "known"] in rows
    assert ["ds-00001", "vanished:"] in [row[:2] for row in rows]


def test_a_drop_that_the_sensor_waits_for_says_why(project: Path) -> None:
    watched = ("recipes/length.yaml", "--dj_assets.landing.watch", "true", "--dj_assets.landing.quiet_seconds", "3600")
    listed = " ".join(dj_assets("drops", "list", *watched).stdout.split())
    assert re.search(r"ds-00000 ds.jsonl 2 not complete: changed \d+ s ago, taken after 3600 s", listed)


# --- demo


def test_demo_hands_its_exit_code_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dj_assets.demo.run", lambda: 1)
    assert dj_assets("demo").exit_code == 1


@pytest.fixture(scope="module", autouse=True)
def _no_workers_left() -> Iterator[None]:
    """The pools outlive a run on purpose; they need not outlive this module."""
    yield
    from dj_assets.workers import close_pools

    close_pools()
