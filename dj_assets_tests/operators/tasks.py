"""Measure one video with one operator in this process, as a worker would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dj_assets import operators
from dj_assets.video.safe_open import MediaLimits
from dj_assets.video_run import Measured, MeasureSpec, Task, measure_task


def spec(operator: str, **params: Any) -> MeasureSpec:
    """A measure on the CPU."""
    declared = operators.measure(operator)
    chosen = declared.params(**params)
    return MeasureSpec(declared.measure_id(chosen, "cpu"), operator, chosen.model_dump_json(), "cpu")


def task(path: Path, *specs: MeasureSpec, limits: MediaLimits | None = None) -> Task:
    """A task on a file whose folder is the root."""
    facts = path.stat()
    return Task(
        path=str(path),
        content_hash=path.name,
        num_bytes=facts.st_size,
        modified_ns=facts.st_mtime_ns,
        roots=(path.parent,),
        specs=specs,
        limits=limits or MediaLimits(),
    )


def measure(path: Path, operator: str, **params: Any) -> Measured:
    """What one operator finds in one video. Fails the test on a fault of the operator."""
    [measured] = measure_task(task(path, spec(operator, **params))).measured
    assert not measured.bug, measured.bug
    return measured
