"""A model fed by decoders: CPU workers decode, one process with the model scores frames of several videos at once.

    decoders ──frames in scratch files──► this process ──groups──► the model's process ──outcomes──► this process

So a GPU neither waits for a decoder nor opens a file that people brought. What fits into no scratch file (every frame
of an hour, say) is decoded beside the model, as it is where there is no GPU.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dj_assets.frames import FramePlan, Look, VideoInfo, Windows
from dj_assets.operators._contract import Scores
from dj_assets.video_run import (
    Measured,
    MeasureSpec,
    Outcome,
    Task,
    VideoRun,
    measure_task,
    model_of,
    out_of_memory,
    resolve,
)
from dj_assets.workers import PoolSpec, outcome_of, schedule

VIDEO_BYTES = 128 * 2**20
"""The most that one video's frames may take in scratch."""

SCRATCH_BYTES = 1024 * 2**20
"""No further video is decoded while the frames that wait take as much."""

GROUP_BYTES = 256 * 2**20
"""Frames that go to the model's process at once."""

BATCH_BYTES = 64 * 2**20
"""Frames that one call of `score` gets."""

GROUPS_AHEAD = 2
"""Groups that the model's process has at a time: one under work, one waiting, so that it never waits itself."""

CHANNELS = {"rgb24": 3, "bgr24": 3, "gray8": 1}


@dataclass(frozen=True, eq=False)
class Part:
    """A batch of a measure's windows in a scratch file: bytes from `offset`, of that shape. key: `MeasureSpec.key`."""

    key: str
    offset: int
    shape: tuple[int, ...]
    frames: npt.NDArray[np.int64]
    pts_seconds: npt.NDArray[np.float64]
    look: Look


@dataclass(frozen=True, eq=False)
class Decoded:
    """A video whose windows wait for the model. path: their scratch file. done: by key, measures that are settled.

    is_too_long: nothing was decoded, since it does not fit; the model's process is to do it alone.
    """

    task: Task
    path: Path
    parts: tuple[Part, ...]
    done: Mapping[str, Measured]
    probed: dict[str, Any]
    frames: int
    decode_seconds: float
    num_bytes: int
    is_too_long: bool


# --- what a decoder does


class _TooLong(Exception):
    """The frames do not fit into scratch, or scratch is full."""


class _Spooling(VideoRun):
    """Writes windows where others score them."""

    def __init__(self, task: Task, file: Any) -> None:
        super().__init__(task)
        self.file = file
        self.parts: list[Part] = []

    def begin(self, planned: Sequence[tuple[MeasureSpec, FramePlan]], info: VideoInfo) -> None:
        super().begin(planned, info)
        if sum(_num_bytes(plan, info) for _, plan in planned) > VIDEO_BYTES:
            raise _TooLong
        self.file.seek(0)
        self.file.truncate()
        self.parts.clear()

    def take(self, spec: MeasureSpec, windows: Windows) -> None:
        data = np.ascontiguousarray(windows.data)
        part = Part(spec.key, self.file.tell(), data.shape, windows.frames, windows.pts_seconds, windows.look)
        left = data.data.cast("B")
        try:
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            raise _TooLong from error
        self.parts.append(part)

    def finish(self) -> None:
        pass  # whoever scores reduces


def _num_bytes(plan: FramePlan, info: VideoInfo) -> int:
    size = plan.look.size or info.size
    return plan.windows.size * size.height * size.width * CHANNELS[plan.look.pixel_format]


def decode_task(task: Task, path: Path) -> Decoded:
    """Decode a video's windows into a scratch file. Runs in a worker without a model."""
    # Unbuffered: a buffer that did not fit would raise once more when it is closed.
    with path.open("w+b", buffering=0) as file:
        run = _Spooling(task, file)
        is_too_long = False
        try:
            run.run()
        except _TooLong:
            is_too_long = True
        num_bytes = file.seek(0, os.SEEK_END)
    return Decoded(
        task=task,
        path=path,
        parts=tuple(run.parts),
        done=run.done,
        probed=run.probed,
        frames=run.frames,
        decode_seconds=run.decode_seconds,
        num_bytes=num_bytes,
        is_too_long=is_too_long,
    )


# --- what the model's process does


def score_group(group: Sequence[Decoded]) -> list[Outcome]:
    """Score the windows of several videos, those of equal shape together; one outcome each, in order."""
    started = time.perf_counter()
    runs = [_taken_up(decoded) for decoded in group]
    waiting: dict[tuple[Any, ...], list[_Waiting]] = {}
    for run, decoded in zip(runs, group, strict=True):
        specs = {spec.key: spec for spec in decoded.task.specs}
        for part in decoded.parts:
            if part.key in run.done:
                continue
            spec = specs[part.key]
            alike = (replace(spec, text=""), part.shape[1:], part.look)
            together = waiting.setdefault(alike, [])
            together.append(_Waiting(run, spec, _read(decoded.path, part)))
            if sum(one.windows.data.nbytes for one in together) >= BATCH_BYTES:
                _score_together(waiting.pop(alike))
    for together in waiting.values():
        _score_together(together)
    for run in runs:
        with _within_memory(run):
            run.finish()
    seconds = (time.perf_counter() - started) / max(1, len(runs))
    return [run.told(run.decode_seconds + seconds) for run in runs]


def _taken_up(decoded: Decoded) -> VideoRun:
    """The run where the decoder left it."""
    run = VideoRun(decoded.task)
    run.done = dict(decoded.done)
    run.probed = decoded.probed
    run.frames = decoded.frames
    run.decode_seconds = decoded.decode_seconds
    run.scores = {spec.key: [] for spec in decoded.task.specs if spec.key not in run.done}
    return run


class _Waiting(NamedTuple):
    """Windows of one video that wait for others, to be scored with them."""

    run: VideoRun
    spec: MeasureSpec
    windows: Windows


def _read(path: Path, part: Part) -> Windows:
    count = int(np.prod(part.shape))
    data = np.fromfile(path, dtype=np.uint8, count=count, offset=part.offset).reshape(part.shape)
    return Windows(data, part.frames, part.pts_seconds, part.look)


def _score_together(together: Sequence[_Waiting]) -> None:
    """One call for all of them; where that fails, one for each, so that only the culprit's fails. They are of one
    measure, but for their texts."""
    operator, params = resolve(together[0].spec)
    score: Any = operator.score
    started = time.perf_counter()
    try:
        every = Windows(
            np.concatenate([one.windows.data for one in together]),
            np.concatenate([one.windows.frames for one in together]),
            np.concatenate([one.windows.pts_seconds for one in together]),
            together[0].windows.look,
            tuple(one.spec.text for one in together for _ in range(len(one.windows))) if operator.reads_text else (),
        )
        scores = score(every, params, model_of(together[0].spec))
    except Exception:
        for run, spec, windows in together:
            if spec.key not in run.done:
                with _within_memory(run):
                    run.take(spec, windows)
        return
    seconds = (time.perf_counter() - started) / len(every)
    at = 0
    for run, spec, windows in together:
        end = at + len(windows)
        run.scores[spec.key].append(Scores(scores.values[at:end], tuple(scores.details[at:end])))
        run.score_seconds[spec.key] = run.score_seconds.get(spec.key, 0.0) + seconds * len(windows)
        at = end


@contextlib.contextmanager
def _within_memory(run: VideoRun) -> Iterator[None]:
    """What one video's windows have no memory for is that video's answer, as where it is measured alone."""
    try:
        yield
    except MemoryError:
        run.fail_rest(out_of_memory(run.task.path))


# --- what holds them together


def feed_tasks(
    tasks: Sequence[Task], *, decoders: PoolSpec, model: PoolSpec, timeout_seconds: float
) -> Iterator[Outcome]:
    """Measure every task; yield outcomes as they come, one per task, whatever happens to it, as `measure_tasks` does.

    decoders: workers without a model. model: the process that holds it.
    """
    if not tasks:
        return
    folder = _scratch_folder()
    feed = _Feed(tasks, decoders, model, timeout_seconds, folder)
    try:
        yield from feed.outcomes()
    finally:
        feed.cancel()
        shutil.rmtree(folder, ignore_errors=True)


class _Feed:
    """What is under way. Every task is in exactly one of `waiting`, `decoding`, `ready`, `scoring`, `alone`."""

    def __init__(
        self, tasks: Sequence[Task], decoders: PoolSpec, model: PoolSpec, timeout_seconds: float, folder: Path
    ) -> None:
        self.waiting = deque(tasks)
        self.decoding: dict[Future, tuple[Task, Path]] = {}
        self.ready: deque[Decoded] = deque()
        self.scoring: dict[Future, list[Decoded]] = {}
        self.alone: dict[Future, Task] = {}
        self.decoders = decoders
        self.model = model
        self.timeout_seconds = timeout_seconds
        self.folder = folder
        self.num_started = 0

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            self._start_decoding()
            self._start_scoring()
            pending = [*self.decoding, *self.scoring, *self.alone]
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                if future in self.decoding:
                    yield from self._decoded(future, *self.decoding.pop(future))
                elif future in self.scoring:
                    yield from self._scored(future, self.scoring.pop(future))
                else:
                    task = self.alone.pop(future)
                    yield outcome_of(task, future, self.model, self.timeout_seconds)

    def cancel(self) -> None:
        """Give up what is under way; workers that are busy with it are stopped."""
        for future in (*self.decoding, *self.scoring, *self.alone):
            future.cancel()

    @property
    def _scratch_bytes(self) -> int:
        of_groups = sum(decoded.num_bytes for group in self.scoring.values() for decoded in group)
        return of_groups + sum(decoded.num_bytes for decoded in self.ready)

    def _start_decoding(self) -> None:
        if self._scratch_bytes >= SCRATCH_BYTES:
            return
        while self.waiting and len(self.decoding) <= self.decoders.workers:  # one more, so that none waits for us
            task = self.waiting.popleft()
            self.num_started += 1
            path = self.folder / f"{self.num_started}.frames"
            future = schedule(decode_task, task, path, pool=self.decoders, timeout_seconds=self.timeout_seconds)
            self.decoding[future] = task, path

    def _start_scoring(self) -> None:
        """A group as soon as the model has nothing to do, else when there is a full one."""
        while self.ready and len(self.scoring) < GROUPS_AHEAD:
            num_bytes = sum(decoded.num_bytes for decoded in self.ready)
            if self.scoring and num_bytes < GROUP_BYTES and (self.decoding or self.waiting):
                return
            group = [self.ready.popleft()]
            while self.ready and sum(decoded.num_bytes for decoded in group) < GROUP_BYTES:
                group.append(self.ready.popleft())
            timeout = self.timeout_seconds * len(group)
            self.scoring[schedule(score_group, group, pool=self.model, timeout_seconds=timeout)] = group

    def _decoded(self, future: Future, task: Task, path: Path) -> Iterator[Outcome]:
        found = outcome_of(task, future, self.decoders, self.timeout_seconds)
        if isinstance(found, Outcome):  # it took too long, or its decoder died
            path.unlink(missing_ok=True)
            yield found
        elif found.is_too_long:
            path.unlink()
            self._do_alone(task)
        else:
            self.ready.append(found)

    def _scored(self, future: Future, group: list[Decoded]) -> Iterator[Outcome]:
        for decoded in group:
            decoded.path.unlink(missing_ok=True)
        found = outcome_of(group[0].task, future, self.model, self.timeout_seconds)
        if not isinstance(found, Outcome):
            yield from found
        elif len(group) == 1:
            yield found
        else:  # the process died of one of them: which, each finds out alone
            for decoded in group:
                self._do_alone(decoded.task)

    def _do_alone(self, task: Task) -> None:
        task = replace(task, threads=self.model.threads)
        future = schedule(measure_task, task, pool=self.model, timeout_seconds=self.timeout_seconds)
        self.alone[future] = task


# --- scratch

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "dj-assets-frames-"


def _scratch_folder() -> Path:
    """A new folder, in memory where that has room enough. Those of processes that are gone are removed."""
    parent = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        if shutil.disk_usage(SHARED_MEMORY).free > 4 * SCRATCH_BYTES and os.access(SHARED_MEMORY, os.W_OK):
            parent = SHARED_MEMORY
    for left in parent.glob(f"{PREFIX}*"):
        process = left.name.removeprefix(PREFIX).split("-")[0]
        if process.isdigit() and not _is_alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
