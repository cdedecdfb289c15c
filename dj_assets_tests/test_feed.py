"""A model fed by decoders gives what a worker with the model gives, video by video: on the CPU, by a made-up model."""

from __future__ import annotations

import json
import resource
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from dj_assets import feed, video_run, workers
from dj_assets.feed import feed_tasks
from dj_assets.frames import Windows
from dj_assets.operators._contract import Scores
from dj_assets.video_run import MeasureSpec, Outcome, Task, measure_task
from dj_assets.workers import PoolSpec, measure_tasks
from dj_assets_tests import videos
from dj_assets_tests.operators.tasks import spec, task

FED = '''
"""Mean grey; notes in a file which process scored how many windows at once, and does what the first level says."""
import json, os, signal, sys
from pathlib import Path
from dj_assets.frames import Look, single
from dj_assets.operators._contract import Bound, Operator, Params, Scores, Stat

class FedParams(Params):
    log: str

def plan(info, params):
    return single(range(info.num_frames_from_scan), Look("gray8"))

def load(params, device):
    return "the model"

def score(windows, params, model):
    assert model == "the model"
    levels = windows.data.mean(axis=(1, 2, 3))
    with open(params.log, "a") as log:
        log.write(json.dumps([os.getpid(), len(windows), "av" in sys.modules]) + "\\n")
    if 200 < levels.max() < 210:
        os.kill(os.getpid(), signal.SIGKILL)
    if levels.max() > 230:
        raise RuntimeError("a fault of the operator")
    return Scores(levels, tuple(f"{level:.0f}" for level in levels))

OPERATOR = Operator(
    name="video_fed_filter", version=1, summary="mean grey", compute="gpu", params=FedParams,
    stats=(Stat("video_grey", unit="level"),), bounds=(Bound("min_grey", "video_grey", "min", 0.0, help="level"),),
    plan=plan, load=load, score=score,
)
'''


@pytest.fixture
def measure(tmp_path: Path, operator_package: Path) -> Iterator[MeasureSpec]:
    (operator_package / "video_fed_filter.py").write_text(FED)
    yield spec("video_fed_filter", log=str(tmp_path / "log"))
    workers.close_pools()


def clips(folder: Path, *levels: int, frames: int = 3) -> list[Path]:
    """Flat grey videos, each darker by a level in its second frame. The same size, so that all fit into one batch."""
    folder.mkdir(exist_ok=True)
    pictures = {level: [videos.numbered(num_frames=1)[0] * 0 + level - k for k in range(frames)] for level in levels}
    return [
        videos.write_video(folder / f"{index}_{level}.mp4", pictures[level], lossless=True)
        for index, level in enumerate(levels)
    ]


def pools(measure: MeasureSpec) -> tuple[PoolSpec, PoolSpec]:
    decoders = PoolSpec(workers=2, memory_mb=600, threads=1)
    return decoders, replace(decoders, workers=1, models=(measure,))


def fed(tasks: list[Task], measure: MeasureSpec) -> dict[str, Outcome]:
    decoders, model = pools(measure)
    found = list(feed_tasks(tasks, decoders=decoders, model=model, timeout_seconds=30))
    assert len(found) == len(tasks), "one outcome per task"
    return {outcome.task.content_hash: outcome for outcome in found}


def log(measure: MeasureSpec) -> list[tuple[int, int, bool]]:
    """Process, windows at once, and whether it can decode: of every call of `score`."""
    return [tuple(json.loads(line)) for line in Path(json.loads(measure.params)["log"]).read_text().splitlines()]


def told(outcome: Outcome) -> list[tuple[object, ...]]:
    return [
        (one.measure_id, one.values, one.window_values, one.window_details, one.status, one.reason, one.bug)
        for one in outcome.measured
    ]


def scratch() -> set[Path]:
    folders = {Path(tempfile.gettempdir()), feed.SHARED_MEMORY}
    return {left for folder in folders if folder.is_dir() for left in folder.glob(f"{feed.PREFIX}*")}


def test_it_gives_what_one_worker_gives_with_frames_of_many_videos_at_once(
    tmp_path: Path, measure: MeasureSpec
) -> None:
    paths = clips(tmp_path / "media", *range(40, 160, 10))
    wide = videos.write_video(tmp_path / "media" / "wide.mp4", videos.numbered(num_frames=2, width=96), lossless=True)
    broken = videos.cut_short(paths[0], tmp_path / "media" / "broken.mp4")
    one_frame = videos.write_video(tmp_path / "media" / "one.mp4", videos.numbered(num_frames=1))
    specs = (measure, spec("video_motion_score_filter"), spec("video_duration_filter"))
    tasks = [task(path, *specs) for path in (*paths, wide, broken, one_frame)]
    before = scratch()
    found = fed(tasks, measure)
    by_hand = log(measure)
    for one in tasks:
        assert told(found[one.content_hash]) == told(measure_task(one)), one.path
        assert found[one.content_hash].probed == measure_task(one).probed
        assert found[one.content_hash].frames == measure_task(one).frames
    assert {process for process, _, _ in by_hand} and len({process for process, _, _ in by_hand}) == 1
    assert max(count for _, count, _ in by_hand) > 3, "windows of several videos in one call"
    assert sum(count for _, count, _ in by_hand) == 12 * 3 + 2 + 1
    assert not any(can_decode for _, _, can_decode in by_hand), "the model's process opens no video"
    assert scratch() == before
    assert all(outcome.measured[0].cost_seconds > 0 for outcome in found.values() if not outcome.measured[0].status)


def test_a_fault_that_one_video_causes_is_its_own(tmp_path: Path, measure: MeasureSpec) -> None:
    paths = clips(tmp_path / "media", 50, 235, 60, 70, 80)
    found = fed([task(path, measure) for path in paths], measure)
    bugs = {name: outcome.measured[0].bug for name, outcome in found.items()}
    assert "a fault of the operator" in bugs.pop("1_235.mp4")
    assert set(bugs.values()) == {""}


def test_a_video_that_kills_the_model_costs_itself_alone(tmp_path: Path, measure: MeasureSpec) -> None:
    paths = clips(tmp_path / "media", 50, 60, 205, 70, 80)
    found = fed([task(path, measure) for path in paths], measure)
    statuses = {name: outcome.measured[0].status for name, outcome in found.items()}
    assert statuses.pop("2_205.mp4") == "crashed"
    assert set(statuses.values()) == {"ok"}
    assert found["0_50.mp4"].measured[0].window_values == pytest.approx((50, 49, 48), abs=1)


def test_what_does_not_fit_into_scratch_is_decoded_beside_the_model(
    tmp_path: Path, measure: MeasureSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    [long] = clips(tmp_path / "media", 150, frames=20)
    run = feed._Spooling(task(long, measure), (tmp_path / "frames").open("w+b"))
    monkeypatch.setattr(feed, "VIDEO_BYTES", 64 * 64 * 19)
    with pytest.raises(feed._TooLong):
        run.run()
    assert not run.parts and not run.done
    decoders, model = pools(measure)
    held = feed._Feed([], decoders, model, 30, tmp_path)
    (tmp_path / "1.frames").touch()
    decoded = feed.Decoded(task(long, measure), tmp_path / "1.frames", (), (), {}, 0, 0.0, 0, is_too_long=True)
    monkeypatch.setattr(feed, "outcome_of", lambda *arguments: decoded)
    assert list(held._decoded(None, decoded.task, decoded.path)) == []  # type: ignore[arg-type]
    monkeypatch.undo()
    [outcome] = held.outcomes()
    assert outcome.measured[0].window_values == pytest.approx([150 - k for k in range(20)], abs=1)
    assert log(measure)[0][2], "this time the model's process decodes"
    assert not (tmp_path / "1.frames").exists()


def test_full_scratch_is_not_the_videos_fault(tmp_path: Path, measure: MeasureSpec) -> None:
    [path] = clips(tmp_path / "media", 50)
    with Path("/dev/full").open("wb", buffering=0) as full:

        class File:
            write = staticmethod(full.write)
            seek = truncate = tell = staticmethod(lambda *arguments: 0)

        with pytest.raises(feed._TooLong):
            feed._Spooling(task(path, measure), File()).run()


def test_scratch_that_is_full_for_a_few_bytes_is_no_error_either(tmp_path: Path, measure: MeasureSpec) -> None:
    [path] = clips(tmp_path / "media", 50, frames=1)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        decoded = feed.decode_task(task(path, measure), tmp_path / "frames")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert decoded.is_too_long


def test_no_memory_for_a_videos_windows_is_its_own_answer(
    tmp_path: Path, measure: MeasureSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(windows: Windows, params: object, model: object) -> Scores:
        if windows.data.max() > 100:
            raise MemoryError
        return Scores(windows.data.mean(axis=(1, 2, 3)), ("",) * len(windows))

    operator, params = video_run.resolve(measure)
    for module in (video_run, feed):
        monkeypatch.setattr(module, "resolve", lambda spec: (replace(operator, score=score), params))
    paths = clips(tmp_path / "media", 50, 150)
    group = [feed.decode_task(task(path, measure), tmp_path / f"{path.stem}.frames") for path in paths]
    assert [outcome.measured[0].status for outcome in feed.score_group(group)] == ["ok", "too_large"]


def test_a_decoder_that_dies_leaves_no_frames(tmp_path: Path, measure: MeasureSpec) -> None:
    held = feed._Feed([], *pools(measure), 30, tmp_path)
    frames = tmp_path / "1.frames"
    frames.touch()
    given_up: Future = Future()
    given_up.set_exception(TimeoutError())
    [path] = clips(tmp_path / "media", 50)
    [outcome] = held._decoded(given_up, task(path, measure), frames)
    assert outcome.measured[0].status == "timed_out" and not frames.exists()


def test_closing_early_leaves_no_scratch(tmp_path: Path, measure: MeasureSpec) -> None:
    paths = clips(tmp_path / "media", *range(40, 160, 10))
    before = scratch()
    decoders, model = pools(measure)
    running = feed_tasks([task(path, measure) for path in paths], decoders=decoders, model=model, timeout_seconds=30)
    next(running)
    assert scratch() - before
    running.close()
    assert scratch() == before


def test_scratch_of_processes_that_are_gone_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(feed, "SHARED_MEMORY", tmp_path / "none")
    gone, ours = tmp_path / f"{feed.PREFIX}999999999-x", tmp_path / f"{feed.PREFIX}1-x"
    gone.mkdir()
    ours.mkdir()
    made = feed._scratch_folder()
    assert made.parent == tmp_path and ours.exists() and not gone.exists()


def test_nothing_to_do_starts_nothing(measure: MeasureSpec) -> None:
    decoders, model = pools(measure)
    assert list(feed_tasks([], decoders=decoders, model=model, timeout_seconds=1)) == []
    assert list(measure_tasks([], pool=model, timeout_seconds=1)) == []
