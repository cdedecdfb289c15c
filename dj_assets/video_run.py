"""One video on its way: open, probe, plan, decode once, score. Runs in worker processes, where strange files belong."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dj_assets import operators
from dj_assets.errors import DjAssetsError, MediaError, Status, TooLarge, Unreadable
from dj_assets.frames import FramePlan, VideoInfo, Windows
from dj_assets.operators._contract import Device, Operator, Params, Scores
from dj_assets.video.safe_open import MediaLimits

if TYPE_CHECKING:
    from dj_assets.video.probe import OpenVideo, Scan


@dataclass(frozen=True)
class MeasureSpec:
    """One measure to take, in a form that travels between processes. params: the operator's options, canonical."""

    measure_id: str
    operator: str
    params: str
    device: Device


@dataclass(frozen=True)
class Task:
    """One video and what to measure in it. num_bytes and modified_ns: as when it was identified.

    threads: for its decoder and OpenCV; 1 where other workers have work of their own.
    """

    path: str
    content_hash: str
    num_bytes: int
    modified_ns: int
    roots: tuple[Path, ...]
    specs: tuple[MeasureSpec, ...]
    limits: MediaLimits
    threads: int = 1


@dataclass(frozen=True)
class Measured:
    """What one measure found in one video. values: one per stat of the operator, empty when not measured.

    bug: traceback of an error that is nobody's data but a fault in an operator; then nothing is stored.
    """

    measure_id: str
    values: tuple[float, ...] = ()
    window_values: tuple[float, ...] = ()
    window_details: tuple[str, ...] = ()
    status: Status = "ok"
    reason: str = ""
    cost_seconds: float = 0.0
    bug: str = ""


@dataclass(frozen=True)
class Outcome:
    """All measures of one task. probed: what the video is (see `store.probes`), empty where it could not be opened.
    frames: distinct frames that the measures looked at. peak_mb: the worker's, so far."""

    task: Task
    measured: tuple[Measured, ...]
    probed: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass
class _Loaded:
    """Models of this process, by operator, params and device; and why there is none."""

    models: dict[tuple[str, str, Device], Any] = field(default_factory=dict)
    failures: dict[tuple[str, str, Device], Exception] = field(default_factory=dict)


_loaded = _Loaded()


def model_of(spec: MeasureSpec) -> Any:
    """The operator's model, loaded once per worker. Raises what its `load` raised, each time it is asked for."""
    key = (spec.operator, spec.params, spec.device)
    if key in _loaded.failures:
        raise _loaded.failures[key]
    if key not in _loaded.models:
        operator, params = resolve(spec)
        try:
            _loaded.models[key] = operator.load(params, spec.device)
        except Exception as error:
            _loaded.failures[key] = error
            raise
    return _loaded.models[key]


def resolve(spec: MeasureSpec) -> tuple[Operator, Params]:
    operator = operators.get(spec.operator)
    return operator, operator.params.model_validate_json(spec.params)


def out_of_memory(path: str, memory_mb: int | None = None) -> TooLarge:
    """What is said of a video that needs more memory than there is."""
    return TooLarge(
        f"{path} needs more memory than a worker may have",
        allowed=f"{memory_mb} MB" if memory_mb else "dj_assets: limits: memory_mb",
        try_="raise dj_assets: limits: memory_mb",
    )


def measure_task(task: Task) -> Outcome:
    """Measure one video: open, probe, plan, decode once, score. Runs in a worker; usable in this process too.

    A `MediaError` becomes the status of the measures that it concerns; a fault of one operator becomes its `bug`.
    """
    return VideoRun(task).outcome()


def _use_threads(count: int) -> None:
    import cv2

    if cv2.getNumThreads() != count:
        cv2.setNumThreads(count)


class VideoRun:
    """One video on its way through a worker. Each measure ends in `done`, with a number, a status or a bug."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.done: dict[str, Measured] = {}
        self.probed: dict[str, Any] = {}
        self.frames = 0
        self.decode_seconds = 0.0
        self.score_seconds: dict[str, float] = {}
        self.scores: dict[str, list[Scores]] = {}

    def outcome(self) -> Outcome:
        """Measure, and say what was found."""
        started = time.perf_counter()
        self.run()
        return self.told(time.perf_counter() - started)

    def told(self, seconds: float) -> Outcome:
        """What was found, in the order of the task's specs. seconds: that it took."""
        measured = tuple(self.done[spec.measure_id] for spec in self.task.specs)
        return Outcome(self.task, measured, self.probed, frames=self.frames, seconds=seconds, peak_mb=peak_mb())

    def run(self) -> None:
        """Measure. What goes wrong with the video is in `done`."""
        _use_threads(self.task.threads)
        try:
            self.measure()
        except MediaError as error:
            self.fail_rest(error)
        except MemoryError:
            self.fail_rest(out_of_memory(self.task.path))

    def fail(self, spec: MeasureSpec, error: MediaError) -> None:
        self.done[spec.measure_id] = Measured(spec.measure_id, status=error.status, reason=error.one_line())

    def fail_rest(self, error: MediaError) -> None:
        for spec in self.task.specs:
            if spec.measure_id not in self.done:
                self.fail(spec, error)

    def guarded(self, spec: MeasureSpec, work: Callable[[], Any]) -> Any:
        """Run one operator's own code; None when it could not, with the reason in `done`."""
        try:
            return work()
        except MediaError as error:
            self.fail(spec, error)
        except MemoryError:
            raise
        except DjAssetsError as error:  # weights or a device that are not there: told without a traceback
            self.done[spec.measure_id] = Measured(spec.measure_id, bug=str(error))
        except Exception:
            self.done[spec.measure_id] = Measured(spec.measure_id, bug=traceback.format_exc())
        return None

    def measure(self) -> None:
        from dj_assets.video.probe import probe

        with self._open() as video:
            check_unchanged(self.task)
            on_frames = [spec for spec in self.task.specs if resolve(spec)[0].read is None]
            started = time.perf_counter()
            scan = probe(video, hold=bool(on_frames))
            self.decode_seconds += time.perf_counter() - started
            self.probed = probe_record(scan.info)
            for spec in self.task.specs:
                if spec not in on_frames:
                    self._read_header(spec, *resolve(spec), scan.info)
            if on_frames:
                self._measure_frames(on_frames, video, scan)

    def _open(self) -> contextlib.AbstractContextManager[OpenVideo]:
        from dj_assets.video.probe import open_video

        task = self.task
        return open_video(task.path, roots=task.roots, limits=task.limits, threads=task.threads)

    def _read_header(self, spec: MeasureSpec, operator: Operator, params: Params, info: VideoInfo) -> None:
        started = time.perf_counter()
        values = self.guarded(spec, lambda: tuple(float(v) for v in operator.read(info, params)))  # type: ignore[misc]
        if values is not None:
            cost = self.decode_seconds / len(self.task.specs) + time.perf_counter() - started
            self.done[spec.measure_id] = Measured(
                spec.measure_id, values=values, window_values=values, cost_seconds=cost
            )

    def _measure_frames(self, specs: Sequence[MeasureSpec], video: OpenVideo, scan: Scan) -> None:
        from dj_assets.video.decode import FramesMissing, is_planned, with_rotation
        from dj_assets.video.probe import rescan_by_decoding

        started = time.perf_counter()
        scan = with_rotation(video, scan)
        self.decode_seconds += time.perf_counter() - started
        if is_planned(video, scan):
            with contextlib.suppress(FramesMissing):
                return self._decode_and_score(specs, video, scan)
            # Its key packets are not what they seem; all packets in order tell more.
        try:
            self._decode_and_score(self._left(specs), video, scan, linear=True)
        except FramesMissing:
            # Some streams hold packets that show nothing, so the packet count is not the frame count. Count frames.
            with self._open() as again:
                rescan = rescan_by_decoding(again)
                if rescan.info.num_frames_from_scan == scan.info.num_frames_from_scan:
                    raise
                info = replace(rescan.info, rotation_degrees=scan.info.rotation_degrees)
                self._decode_and_score(self._left(specs), again, replace(rescan, info=info), linear=True)

    def _left(self, specs: Sequence[MeasureSpec]) -> list[MeasureSpec]:
        return [spec for spec in specs if spec.measure_id not in self.done]

    def _decode_and_score(
        self, specs: Sequence[MeasureSpec], video: OpenVideo, scan: Scan, *, linear: bool = False
    ) -> None:
        from dj_assets.video.decode import decode_windows, wanted_frames

        planned = list(self._plans(specs, scan.info))
        self.begin(planned, scan.info)
        started = time.perf_counter()
        for number, windows in decode_windows(video, scan, [plan for _, plan in planned], linear=linear):
            self.decode_seconds += time.perf_counter() - started
            spec = planned[number][0]
            if spec.measure_id not in self.done:
                self.take(spec, windows)
            started = time.perf_counter()
        self.decode_seconds += time.perf_counter() - started
        self.frames = max(self.frames, len(wanted_frames([plan for _, plan in planned])))
        self.finish()

    def begin(self, planned: Sequence[tuple[MeasureSpec, FramePlan]], info: VideoInfo) -> None:
        """Windows of these plans are about to come, from their first one on; earlier ones do not count."""
        self.scores = {spec.measure_id: [] for spec, _ in planned}

    def take(self, spec: MeasureSpec, windows: Windows) -> None:
        """Score a batch of a measure's windows."""
        operator, params = resolve(spec)
        started = time.perf_counter()
        score: Any = operator.score
        result = self.guarded(spec, lambda: score(windows, params, model_of(spec)))
        elapsed = time.perf_counter() - started
        self.score_seconds[spec.measure_id] = self.score_seconds.get(spec.measure_id, 0.0) + elapsed
        if result is not None:
            self.scores[spec.measure_id].append(result)

    def finish(self) -> None:
        """All windows have come: reduce every measure that is not done."""
        for spec in self.task.specs:
            if spec.measure_id in self.scores and spec.measure_id not in self.done:
                self._reduce(spec, self.scores[spec.measure_id], len(self.scores))

    def _plans(self, specs: Sequence[MeasureSpec], info: VideoInfo) -> Iterator[tuple[MeasureSpec, FramePlan]]:
        for spec in specs:
            operator, params = resolve(spec)
            plan = self.guarded(spec, lambda op=operator, p=params: op.plan(info, p))  # type: ignore[misc]
            if plan is not None:
                yield spec, plan

    def _reduce(self, spec: MeasureSpec, scores: Sequence[Scores], sharers: int) -> None:
        operator, _ = resolve(spec)
        values = np.concatenate([score.values for score in scores]) if scores else np.zeros(0)
        details = tuple(detail for score in scores for detail in score.details)
        value = self.guarded(spec, lambda: _finite(operator.reduce(values), operator.name))
        if value is not None:
            self.done[spec.measure_id] = Measured(
                spec.measure_id,
                values=(value,),
                window_values=tuple(float(window) for window in values),
                window_details=details,
                cost_seconds=self.decode_seconds / sharers + self.score_seconds.get(spec.measure_id, 0.0),
            )


def check_unchanged(task: Task) -> None:
    """A file that is still being written would be stored under the hash of something else. Raises `Unreadable`."""
    facts = Path(task.path).stat()
    if (facts.st_size, facts.st_mtime_ns) != (task.num_bytes, task.modified_ns):
        raise Unreadable(
            f"{task.path} changed after it was identified",
            allowed="files that stay as they are during a run",
            try_="run again once it is complete",
        )


def probe_record(info: VideoInfo) -> dict[str, Any]:
    """What a probe found, by the column names of `store.probes`."""
    return {
        "width": info.size.width,
        "height": info.size.height,
        "duration_seconds": info.duration_seconds,
        "fps": info.fps,
        "num_frames": info.num_frames_from_scan,
        "num_keyframes": len(info.keyframes),
        "rotation_degrees": info.rotation_degrees,
        "codec": info.codec,
        "container": info.container,
        "pixel_format": info.pixel_format,
        "has_audio": info.has_audio,
    }


def _finite(value: float, operator: str) -> float:
    """Refuse NaN and infinity: they would pass for measurements."""
    if not np.isfinite(value):
        raise ArithmeticError(f"{operator} gave {value}, expected a finite number")
    return float(value)


def peak_mb() -> float:
    """Highest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
