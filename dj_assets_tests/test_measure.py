"""Rows out = videos in; measured once; whatever a video does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from dj_assets import workers
from dj_assets.measure import PassResult, Progress, _longest_first, identify, measure_pass
from dj_assets.plan import Plan, make_plan
from dj_assets.recipe import Limits, Recipe, Settings, StepSource
from dj_assets.samples import Sample, Video
from dj_assets.store.rows import Provenance
from dj_assets.store.store import Store
from dj_assets.video.safe_open import MediaLimits
from dj_assets.video_run import Task
from dj_assets_tests import videos

PROVENANCE = Provenance(asset="r/stats", shard="s-00000", recipe="r", recipe_sha256="0", code_version="1")
LIMITS = Limits(timeout_seconds=30)


@pytest.fixture(scope="module", autouse=True)
def workers_stop() -> Iterator[None]:
    yield
    workers.close_pools()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def plan_of(*steps: tuple[str, dict[str, Any]]) -> Plan:
    sources = tuple(StepSource(number, name, options) for number, (name, options) in enumerate(steps, start=1))
    return make_plan(Recipe("r", "r.yaml", "0", Path("ds.jsonl"), Path("res.jsonl"), sources, Settings()))


def sample(number: int, *paths: Path | str) -> Sample:
    found = tuple(Video("videos", position, str(path), str(path)) for position, path in enumerate(paths))
    return Sample(f"ds:{number}", "ds", number, {"videos": [str(path) for path in paths]}, found)


def run(plan: Plan, samples: list[Sample], store: Store, **options: Any) -> PassResult:
    [pass_] = plan.passes
    settings: dict[str, Any] = {
        "limits": LIMITS,
        "roots": [Path("/")],
        "workers": 1,
        "wanted": [step.key for step in pass_.steps],
        "still_in": None,
        "provenance": PROVENANCE,
    }
    return measure_pass(pass_, samples=samples, store=store, **{**settings, **options})


def test_identify_reads_each_path_once_and_gives_reasons(tmp_path: Path, still: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    given = [sample(1, still, still), sample(2, tmp_path / "none.mp4"), sample(3, tmp_path / "empty.mp4"), sample(4)]
    found = identify(given, roots=[still.parent, tmp_path], limits=LIMITS)
    first, second = found[0].videos
    assert first.content_hash == second.content_hash != "" and first.num_bytes == still.stat().st_size
    assert [v.status for s in found for v in s.videos] == ["ok", "ok", "missing", "unreadable"]
    assert "0 bytes" in found[2].videos[0].reason and found[3].videos == ()


def test_each_stat_of_decoded_frames_keeps_window_values_of_its_own(tmp_path: Path, store: Store) -> None:
    """Of two windows, the first is dark all over and the other is bright."""
    frames = [np.full((64, 96, 3), level, dtype=np.uint8) for level in (0, 255)]
    path = videos.write_video(tmp_path / "a.mp4", frames, lossless=True)
    samples = identify([sample(1, path)], roots=[tmp_path], limits=LIMITS)
    plan = plan_of(("video_exposure_filter", {}))
    rows = run(plan, samples, store).tables["video_exposure_filter"]
    assert [(row.fact.stat, row.fact.value, row.fact.window_values) for row in rows[:2]] == [
        ("video_dark_ratio", 0.5, (1.0, 0.0)),
        ("video_bright_ratio", 0.5, (0.0, 1.0)),
    ]
    assert rows[2].fact.stat == "video_brightness" and len(rows[2].fact.window_values) == 2
    again = run(plan, samples, store)
    assert [row.fact for row in again.tables["video_exposure_filter"]] == [row.fact for row in rows]


def test_one_row_per_video_and_stat_in_order_whatever_they_are(tmp_path: Path, still: Path, store: Store) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video at all")
    samples = identify(
        [sample(1, still, text), sample(2), sample(3, "http://127.0.0.1/x.mp4"), sample(4, still)],
        roots=[still.parent, tmp_path],
        limits=LIMITS,
    )
    result = run(plan_of(("video_resolution_filter", {})), samples, store)
    rows = result.tables["video_resolution_filter"]
    assert [(row.sample_id, row.position, row.fact.stat, row.fact.value, row.fact.status) for row in rows] == [
        ("ds:1", 0, "video_width", 128.0, "ok"),
        ("ds:1", 0, "video_height", 96.0, "ok"),
        ("ds:1", 1, "video_width", None, "unreadable"),
        ("ds:1", 1, "video_height", None, "unreadable"),
        ("ds:3", 0, "video_width", None, "refused"),
        ("ds:3", 0, "video_height", None, "refused"),
        ("ds:4", 0, "video_width", 128.0, "ok"),
        ("ds:4", 0, "video_height", 96.0, "ok"),
    ]
    assert (result.measured, result.reused, result.skipped, result.errors) == (2, 0, 0, {})


def test_what_was_measured_is_found_again_under_another_name(tmp_path: Path, moving_2px: Path, store: Store) -> None:
    plan = plan_of(("video_motion_score_filter", {}))
    first = run(plan, identify([sample(1, moving_2px)], roots=["/"], limits=LIMITS), store)  # type: ignore[list-item]
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(moving_2px.read_bytes())
    again = run(plan, identify([sample(7, copy)], roots=[tmp_path], limits=LIMITS), store)
    assert (first.measured, first.decoded) == (1, 1)
    assert (again.measured, again.decoded, again.reused) == (0, 0, 1)
    [old], [new] = first.tables["video_motion_score_filter"], again.tables["video_motion_score_filter"]
    assert new.fact.value == old.fact.value and new.reused and not old.reused
    assert new.fact.window_values == old.fact.window_values


def test_what_a_video_is_is_written_down_once(tmp_path: Path, moving_2px: Path, store: Store) -> None:
    """Whichever pass opens it first; a file that is no video is in the view all the same, with nothing known of it."""
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    samples = identify([sample(1, moving_2px), sample(2, text)], roots=[Path("/")], limits=LIMITS)
    for name in ("video_motion_score_filter", "video_duration_filter"):
        run(plan_of((name, {})), samples, store)
    store.write_samples("r", "ds-00000", samples, PROVENANCE)
    store.refresh_index()
    connection = duckdb.connect(f"duckdb:{store.index_path}", read_only=True)
    asked = "SELECT width, height, num_frames, fps, duration_seconds, has_audio, codec <> '' FROM videos ORDER BY path"
    known = (128, 96, 24, 24.0, 1.0, False, True)
    assert sorted(connection.execute(asked).fetchall(), key=str) == sorted([known, (None,) * 7], key=str)
    assert connection.execute("SELECT count(*) FROM probes").fetchall() == [(1,)]
    assert connection.execute("SELECT count(*) FROM facts_log WHERE operator = 'probe'").fetchall() == [(0,)]


def test_other_params_are_another_measure(moving_2px: Path, store: Store) -> None:
    samples = identify([sample(1, moving_2px)], roots=[moving_2px.parent], limits=LIMITS)
    run(plan_of(("video_motion_score_filter", {})), samples, store)
    bounds_moved = run(plan_of(("video_motion_score_filter", {"min_score": 9.0, "any_or_all": "all"})), samples, store)
    assert bounds_moved.decoded == 0
    params_moved = run(plan_of(("video_motion_score_filter", {"sampling_fps": 4})), samples, store)
    assert params_moved.decoded == 1


def test_samples_out_of_play_are_skipped_unless_known(moving_2px: Path, still: Path, store: Store) -> None:
    plan = plan_of(("video_motion_score_filter", {}))
    samples = identify([sample(1, moving_2px), sample(2, still)], roots=[Path("/")], limits=LIMITS)
    result = run(plan, samples, store, still_in={"ds:1"})
    assert [row.fact.status for row in result.tables["video_motion_score_filter"]] == ["ok", "skipped"]
    assert (result.measured, result.skipped) == (1, 1)
    known_now = run(plan, samples, store, still_in=set())
    assert [row.fact.status for row in known_now.tables["video_motion_score_filter"]] == ["ok", "skipped"]
    whole = run(plan, samples, store, still_in=None)
    assert [row.fact.status for row in whole.tables["video_motion_score_filter"]] == ["ok", "ok"]
    assert (whole.measured, whole.reused) == (1, 1)


def test_steps_share_one_decode_and_only_wanted_ones_are_measured(moving_2px: Path, store: Store) -> None:
    plan = plan_of(("video_motion_score_filter", {}), ("video_motion_score_filter", {"sampling_fps": 6}))
    samples = identify([sample(1, moving_2px)], roots=[moving_2px.parent], limits=LIMITS)
    one = run(plan, samples, store, wanted=["video_motion_score_filter"])
    assert list(one.tables) == ["video_motion_score_filter"]
    both = run(plan, samples, store)
    assert sorted(both.tables) == ["video_motion_score_filter", "video_motion_score_filter_2"]
    assert (both.measured, both.reused, both.decoded) == (1, 1, 1)


def test_progress_goes_from_none_to_all(moving_2px: Path, still: Path, store: Store) -> None:
    told: list[Progress] = []
    samples = identify([sample(1, moving_2px), sample(2, still)], roots=[Path("/")], limits=LIMITS)
    run(plan_of(("video_motion_score_filter", {})), samples, store, progress=told.append)
    assert [(p.pass_name, p.done, p.total) for p in told] == [("cpu", 0, 2), ("cpu", 1, 2), ("cpu", 2, 2)]
    assert told[-1].frames == 6 and told[-1].undecided == 0


def test_a_fault_of_one_operator_leaves_the_others_tables(
    moving_2px: Path, store: Store, operator_package: Path
) -> None:
    (operator_package / "video_faulty_filter.py").write_text(
        "from dataclasses import replace\n"
        "from dj_assets.operators.video_duration_filter import OPERATOR as base\n"
        "def read(info, params):\n"
        "    raise RuntimeError('a fault of mine')\n"
        "OPERATOR = replace(base, name='video_faulty_filter', read=read)\n"
    )
    workers.close_pools()  # a worker started earlier does not know the new package
    samples = identify([sample(1, moving_2px)], roots=[moving_2px.parent], limits=LIMITS)
    result = run(plan_of(("video_faulty_filter", {}), ("video_duration_filter", {})), samples, store)
    assert list(result.tables) == ["video_duration_filter"]
    assert "a fault of mine" in str(result.errors["video_faulty_filter"])
    workers.close_pools()


def test_what_was_measured_before_an_interruption_is_kept(tmp_path: Path, store: Store) -> None:
    paths = [videos.write_video(tmp_path / f"{index}.mp4", videos.numbered(num_frames=2 + index)) for index in range(3)]
    samples = identify([sample(index, path) for index, path in enumerate(paths)], roots=[tmp_path], limits=LIMITS)
    plan = plan_of(("video_duration_filter", {}))

    def stop_after_two(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, samples, store, progress=stop_after_two)
    again = run(plan, samples, store)
    assert (again.measured, again.reused) == (1, 2)


def test_long_videos_come_first_by_what_earlier_passes_saw_and_by_bytes_where_none_did(tmp_path: Path) -> None:
    def of(name: str, num_bytes: int) -> Task:
        return Task(name, name, num_bytes, 0, (), (), MediaLimits())

    tasks = [of("small file, long", 10), of("large file, short", 1000), of("unseen", 500), of("unseen, small", 1)]
    seen = {
        "small file, long": {"width": 1920, "height": 1080, "duration_seconds": 60.0},
        "large file, short": {"width": 640, "height": 360, "duration_seconds": 2.0},
    }
    ordered = [task.path for task in _longest_first(tasks, seen)]
    assert ordered == ["small file, long", "unseen", "large file, short", "unseen, small"]
    assert [task.path for task in _longest_first(tasks, {})][:2] == ["large file, short", "unseen"]
