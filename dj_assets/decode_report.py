"""What decoding a video for a pass would take, told without decoding it: `dj-assets plan --decode`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dj_assets.errors import MediaError
from dj_assets.frames import FramePlan, Look, VideoInfo
from dj_assets.measure import media_limits, spec_of
from dj_assets.plan import Pass
from dj_assets.recipe import Limits
from dj_assets.samples import Video
from dj_assets.video.decode import DecodeCounts
from dj_assets.video_run import MeasureSpec, Task, check_unchanged, probe_record, resolve
from dj_assets.workers import PoolSpec, call


@dataclass(frozen=True)
class StepDecode:
    """The frames that one step wants: windows and distinct frames, and how it sees them. why_not: it wants none."""

    measure_id: str
    windows: int = 0
    frames: int = 0
    look: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class DecodeReport:
    """What a pass would have to do for one video. probed: what the video is, by `store.probes`' names.

    frames: distinct ones over all steps. counts: None where packets do not tell, and all are decoded. is_held: whether
    the stream is kept in memory between probing and decoding. num_bytes: of the stream's packets.
    conversions: per frame at most, each made once for all steps.
    """

    probed: dict[str, Any]
    steps: tuple[StepDecode, ...]
    frames: int
    counts: DecodeCounts | None
    is_held: bool
    num_bytes: int
    conversions: tuple[str, ...]


def report_decode(pass_: Pass, video: Video, *, roots: Sequence[Any], limits: Limits) -> DecodeReport:
    """Look at a video in a worker. video: identified. Raises `MediaError`."""
    task = Task(
        path=video.path,
        content_hash=video.content_hash,
        num_bytes=video.num_bytes,
        modified_ns=video.modified_ns,
        roots=tuple(roots),
        specs=tuple(spec_of(step) for step in pass_.steps),
        limits=media_limits(limits),
    )
    pool = PoolSpec(workers=1, memory_mb=limits.memory_mb, threads=1)
    found: DecodeReport = call(_look, task, pool=pool, timeout_seconds=limits.timeout_seconds)
    return found


def _look(task: Task) -> DecodeReport:
    from dj_assets.video.decode import count_packets, wanted_frames, with_rotation
    from dj_assets.video.probe import open_video, probe

    with open_video(task.path, roots=task.roots, limits=task.limits) as video:
        check_unchanged(task)
        scan = with_rotation(video, probe(video, hold=True))
        told = [_planned(spec, scan.info) for spec in task.specs]
        plans = [plan for _, plan in told if plan is not None]
        wanted = wanted_frames(plans)
        return DecodeReport(
            probed=probe_record(scan.info),
            steps=tuple(step for step, _ in told),
            frames=len(wanted),
            counts=count_packets(video, scan, wanted),
            is_held=video.held is not None,
            num_bytes=0 if scan.packets is None else int(scan.packets.num_bytes.sum()),
            conversions=tuple(_conversions([plan.look for plan in plans])),
        )


def _planned(spec: MeasureSpec, info: VideoInfo) -> tuple[StepDecode, FramePlan | None]:
    operator, params = resolve(spec)
    if operator.plan is None:
        return StepDecode(spec.measure_id, why_not="reads the header alone"), None
    try:
        plan = operator.plan(info, params)
    except MediaError as error:
        return StepDecode(spec.measure_id, why_not=error.one_line()), None
    shown = info.displayed_size if plan.look.apply_rotation else info.size
    size = plan.look.size or shown
    look = f"{plan.look.pixel_format} {size.width}x{size.height}"
    return StepDecode(spec.measure_id, len(plan.windows), len(plan.frames), look), plan


def _conversions(looks: Sequence[Look]) -> Iterator[str]:
    """What is made of a frame that all steps want."""
    bases = ("rgb24" if look.pixel_format == "rgb24" else "bgr24" for look in looks)
    yield from dict.fromkeys(bases)
    for look in dict.fromkeys(looks):
        if look.size is not None:
            yield f"resize to {look.size.width}x{look.size.height}"
        if look.pixel_format == "gray8":
            yield "gray8"
