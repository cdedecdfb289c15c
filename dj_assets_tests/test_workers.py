"""One bad file costs one row: crashes, hangs, memory and faults of operators, in real worker processes."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dj_assets import workers
from dj_assets.errors import BadOption, DjAssetsError, RecipeErrors, Unreadable
from dj_assets.video.safe_open import MediaLimits
from dj_assets.video_run import Outcome, measure_task
from dj_assets.workers import PoolSpec, measure_tasks
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import spec, task

MISBEHAVING = '''
"""Does to its worker what the video's width says."""
import os, signal, time
from dj_assets.frames import Look, single
from dj_assets.operators._contract import Bound, NoParams, Operator, Scores, Stat

def plan(info, params):
    return single([0], Look("rgb24"))

def score(windows, params, model):
    width = windows.data.shape[3]
    if width == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    if width == 68:
        time.sleep(60)
    if width == 70:
        hoard = []
        while True:
            hoard.append(bytearray(b"x") * 2**24)
            time.sleep(0.005)
    if width == 72:
        raise RuntimeError("a fault of the operator")
    if width == 74:
        return Scores(windows.data.mean(axis=(1, 2, 3, 4)) * float("nan"))
    return Scores(windows.data.mean(axis=(1, 2, 3, 4)))

OPERATOR = Operator(
    name="video_misbehaving_filter", version=1, summary="mean grey", compute="cpu", params=NoParams,
    stats=(Stat("video_grey", unit="level"),), bounds=(Bound("min_grey", "video_grey", "min", 0.0, help="level"),),
    plan=plan, score=score,
)
'''


@pytest.fixture
def by_width(tmp_path: Path, operator_package: Path) -> Iterator[dict[int, Path]]:
    """Six videos; what happens to the worker that scores them depends on their width in pixels."""
    (operator_package / "video_misbehaving_filter.py").write_text(MISBEHAVING)
    folder = tmp_path / "media"
    folder.mkdir()
    yield {
        width: videos.write_video(folder / f"w{width}.mp4", videos.numbered(num_frames=2, width=width))
        for width in (64, 66, 68, 70, 72, 74)
    }
    workers.close_pools()


def outcomes(paths: list[Path], *, memory_mb: int = 600, timeout_seconds: float = 20) -> dict[str, Outcome]:
    pool = PoolSpec(workers=2, memory_mb=memory_mb, threads=1)
    tasks = [task(path, spec("video_misbehaving_filter"), spec("video_resolution_filter")) for path in paths]
    found = list(measure_tasks(tasks, pool=pool, timeout_seconds=timeout_seconds))
    assert len(found) == len(paths), "one outcome per task"
    return {outcome.task.content_hash: outcome for outcome in found}


def test_a_crash_a_hang_and_a_hoard_cost_one_row_each(by_width: dict[int, Path]) -> None:
    found = outcomes([by_width[width] for width in (66, 64, 68, 70)], timeout_seconds=3)
    first = {name: outcome.measured[0] for name, outcome in found.items()}
    assert first["w64.mp4"].status == "ok" and first["w64.mp4"].values[0] == pytest.approx(20, abs=8)
    assert first["w66.mp4"].status == "crashed" and "SIGKILL" in first["w66.mp4"].reason
    assert first["w68.mp4"].status == "timed_out" and "3 s" in first["w68.mp4"].reason
    assert first["w70.mp4"].status in ("too_large", "timed_out") and first["w70.mp4"].values == ()
    assert all("try: " in measured.reason for measured in first.values() if measured.status != "ok")


def test_memory_above_the_bound_is_too_large(by_width: dict[int, Path]) -> None:
    [outcome] = outcomes([by_width[70]], memory_mb=300).values()
    assert [measured.status for measured in outcome.measured] == ["too_large", "too_large"]
    assert "memory_mb" in outcome.measured[0].reason


def test_a_fault_of_an_operator_is_a_bug_and_spares_the_others(by_width: dict[int, Path]) -> None:
    found = outcomes([by_width[72], by_width[74]])
    fault, resolution = found["w72.mp4"].measured
    assert "a fault of the operator" in fault.bug and resolution.values == (72.0, 64.0)
    assert "finite" in found["w74.mp4"].measured[0].bug, "NaN is no measurement"


def test_the_pool_goes_on_after_a_crash(by_width: dict[int, Path]) -> None:
    outcomes([by_width[66]])
    again = outcomes([by_width[64]])
    assert again["w64.mp4"].measured[0].status == "ok"


def test_leaving_early_stops_the_busy_workers(by_width: dict[int, Path]) -> None:
    pool = PoolSpec(workers=2, memory_mb=600, threads=1)
    tasks = [task(by_width[width], spec("video_misbehaving_filter")) for width in (64, 68)]
    results = measure_tasks(tasks, pool=pool, timeout_seconds=50)
    first = next(results)
    assert first.task.content_hash == "w64.mp4"
    results.close()  # returns at once, although the other one sleeps for a minute
    assert outcomes([by_width[64]])["w64.mp4"].measured[0].status == "ok"


def test_media_errors_are_statuses(tmp_path: Path) -> None:
    good = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=3))
    duration, motion = spec("video_duration_filter"), spec("video_motion_score_filter")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    [measured] = measure_task(task(empty, duration)).measured
    assert (measured.status, measured.values) == ("unreadable", ())
    one_frame = videos.write_video(tmp_path / "one.mp4", videos.numbered(num_frames=1))
    by_header, by_frames = measure_task(task(one_frame, duration, motion)).measured
    assert by_header.status == "ok" and by_frames.status == "too_short", "what can be measured is"
    [measured] = measure_task(task(good, duration, limits=MediaLimits(max_pixels=10))).measured
    assert measured.status == "too_large"


def test_a_lost_packet_at_a_sampled_frame_is_measured_on_the_frames_that_are_left(tmp_path: Path) -> None:
    """A zeroed packet in the middle of the plan was a KeyError: a bug of one operator, and the shard failed."""
    frames = videos.shifting(videos.texture(height=96, width=128), num_frames=24, pixels_per_frame=2)
    whole = videos.write_video(tmp_path / "whole.mp4", frames, fps=12, codec="mpeg4", options={"g": "1"})
    path = videos.blank_packet(whole, tmp_path / "lost.mp4", index=6)
    [measured] = measure_task(task(path, spec("video_motion_score_filter"))).measured
    assert (measured.bug, measured.status) == ("", "ok")
    assert len(measured.window_values) == 4, "pairs (0, 1), (1, 6), (6, 12), (12, 18) of 23 frames"


def test_a_file_that_changed_since_it_was_identified_is_not_measured(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", videos.numbered(num_frames=3))
    stale = task(path, spec("video_duration_filter"))
    videos.write_video(path, videos.numbered(num_frames=5))
    [measured] = measure_task(stale).measured
    assert measured.status == "unreadable" and "changed" in measured.reason


def test_costs_are_counted(moving_2px: Path) -> None:
    outcome = measure_task(task(moving_2px, spec("video_motion_score_filter"), spec("video_duration_filter")))
    assert outcome.frames == 3 and outcome.seconds > 0 and outcome.peak_mb > 10
    assert all(0 < measured.cost_seconds <= outcome.seconds for measured in outcome.measured)


def _measure_one(path: Path) -> None:
    pool = PoolSpec(workers=1, memory_mb=600, threads=1)
    [outcome] = measure_tasks([task(path, spec("video_duration_filter"))], pool=pool, timeout_seconds=20)
    assert outcome.measured[0].status == "ok"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_multiprocessing_that_measured_ends_by_itself(moving_2px: Path, method: str) -> None:
    """Dagster's run workers are such processes: they leave without Python's atexit, and used to wait for our idle
    workers for ever, each holding its model in memory."""
    run = multiprocessing.get_context(method).Process(target=_measure_one, args=(moving_2px,))
    run.start()
    run.join(timeout=40)
    ended = run.exitcode
    if ended is None:
        run.kill()
    assert ended == 0


@pytest.mark.parametrize(
    "error",
    [
        Unreadable("it is cut short", allowed="a whole file", try_="fetch it again"),
        BadOption("size: x", allowed="a number", file="r.yaml", line=3, step="1", option="size"),
        RecipeErrors([BadOption("a", line=1, file="r.yaml"), BadOption("b", line=2, file="r.yaml")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_a_worker_raises_arrives_whole(error: DjAssetsError) -> None:
    """Pickle could not make one again, and a sheet of a file that had changed took the whole pool down."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and again.one_line() == error.one_line()
    assert vars(again).keys() == vars(error).keys()


def test_a_pool_serves_whoever_wants_fewer_workers_of_its_kind() -> None:
    """A last, smaller shard starts no worker; another kind of worker is another pool."""
    pool = PoolSpec(workers=4, memory_mb=600, threads=1)
    assert pool.serves(pool) and pool.serves(PoolSpec(workers=1, memory_mb=600, threads=1))
    assert not pool.serves(PoolSpec(workers=5, memory_mb=600, threads=1))
    assert not pool.serves(PoolSpec(workers=4, memory_mb=500, threads=1))
    assert not pool.serves(PoolSpec(workers=4, memory_mb=600, threads=2))
    large, small = PoolSpec(workers=2, memory_mb=601, threads=1), PoolSpec(workers=1, memory_mb=601, threads=1)
    assert workers._pool(large) is workers._pool(small)
    workers.close_pools()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way of keeping memory")
def test_a_worker_keeps_what_pictures_free_and_gives_it_back_above_half_its_bound(tmp_path: Path) -> None:
    """Freed pictures stay resident for the next ones; a worker that holds much gives them back before it is ended."""
    pool = PoolSpec(workers=1, memory_mb=500, threads=1)
    kept = workers.call(hold_and_free, 100, 0.0, pool=pool, timeout_seconds=30, about="test")
    assert kept > 90, "most of what was freed is kept"
    given_back = workers.call(hold_and_free, 350, workers.TRIM_SECONDS + 1, pool=pool, timeout_seconds=30, about="test")
    assert given_back < 90
    workers.close_pools()


def hold_and_free(megabytes: int, seconds: float) -> float:
    """MB that stay resident of so many, some time after they were freed."""
    before = workers.resident_mb()
    pieces = [bytearray(b"x") * 2**20 for _ in range(megabytes)]
    del pieces
    time.sleep(seconds)
    return workers.resident_mb() - before
