"""What the store survives, at a length that a test suite can bear; `python -m benchmarks.chaos` goes on for longer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chaos import kill_writers, run_at_once, write_in_a_loop


def test_no_acknowledged_write_of_six_processes_is_lost(tmp_path: Path) -> None:
    """DuckDB 2.0.0 opened by its bare path lost one commit in some hundreds of this loop, without an error."""
    seen = write_in_a_loop(tmp_path / "store", processes=6, seconds=5)
    assert seen.acknowledged >= 6, "each process wrote"
    assert (seen.lost, seen.unseen, seen.crashed_writers) == (0, 0, 0)
    waited = "has been held"  # a busy machine: the index is renewed by whoever comes next
    assert [warning for warning in seen.warnings if waited not in warning] == []
    assert seen.same_when_rebuilt


def test_runs_started_at_the_same_moment_all_succeed(tmp_path: Path) -> None:
    """Also in a project that is new, where each of them finds no Dagster instance and makes one."""
    seen = run_at_once(tmp_path / "project", recipes=3, shards=3)
    assert seen.exit_codes == (0, 0, 0), [log.read_text() for log in (tmp_path / "project").glob("*.log")]
    assert seen.dagster_runs == {"SUCCESS": 9}
    assert seen.tables == {"samples": {1: 9}, "stats": {1: 27}, "verdicts": {1: 9}}, "every row there, and once"
    assert seen.fact_lines == {1: 21}, "3 stats of 1 video that all share and of 2 videos each that they do not"
    assert seen.reads > 0
    assert seen.read_errors == ()
    assert seen.complaints == ()


def test_a_run_killed_at_any_moment_leaves_whole_tables_and_the_next_one_goes_on(tmp_path: Path) -> None:
    seen = kill_writers(tmp_path, kills=3, kills_a_round=3, shards=2)
    assert seen.in_time > 0, "at least one kill met the run at work"
    assert seen.faults == []
    assert seen.differences == [], "in the end everything is as an undisturbed run leaves it"
    assert seen.left == 0, "workers end with the run that started them"
