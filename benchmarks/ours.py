"""dj_assets' engine on one video in one process, as a worker runs it (a program of `benchmarks.contest`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.contest import serve

Process = list[dict[str, dict[str, Any]]]
"""The `process` list of a recipe."""


def main() -> None:
    import cv2

    from dj_assets.workers import keep_freed_memory

    cv2.setNumThreads(1)  # as in a worker, and so is this
    keep_freed_memory(beside_model=False)
    serve({"measure": measure, "decode": decode, "hashes": hashes, "windows": windows})


def measure(path: str, process: Process) -> dict[str, Any]:
    """Identify, open, probe, decode, score: {"values": operator -> number or null, "reasons", "peak_mb"}."""
    outcome = outcome_of(path, process)
    values, reasons = {}, []
    for spec, measured in zip(outcome.task.specs, outcome.measured, strict=True):
        if measured.bug:
            raise RuntimeError(measured.bug)
        values[spec.operator] = measured.values[0] if measured.values else None
        if measured.reason:
            reasons.append(measured.reason)
    return {"values": values, "reasons": reasons, "peak_mb": outcome.peak_mb}


def decode(path: str, process: Process) -> None:
    """The same with operators whose score does nothing: everything but their arithmetic."""
    with scored_by(lambda windows: None):
        checked(outcome_of(path, process))


def hashes(path: str, process: Process) -> dict[str, str]:
    """Frame index -> digest of the pixels that operators are given."""
    found: dict[str, str] = {}

    def note(windows: Any) -> None:
        for indices, pictures in zip(windows.frames, windows.data, strict=True):
            for index, picture in zip(indices, pictures, strict=True):
                digest = hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()
                if found.setdefault(str(index), digest) != digest:
                    raise ValueError(f"{path}: frame {index} was given with two contents")

    with scored_by(note):
        checked(outcome_of(path, process))
    return found


def windows(path: str, process: Process) -> list[list[int]]:
    """Frame indices of the windows of the one operator of this recipe, in its order."""
    found: list[list[int]] = []
    with scored_by(lambda windows: found.extend(windows.frames.tolist())):
        checked(outcome_of(path, process))
    return found


def outcome_of(path: str, process: Process) -> Any:
    """What a worker answers for this video and this recipe, run here."""
    from dj_assets.video.safe_open import MediaLimits, identify
    from dj_assets.workers import Task, measure_task

    roots, limits = (Path(path).parent,), MediaLimits()
    found = identify(path, roots=roots, limits=limits)
    return measure_task(
        Task(
            path=path,
            content_hash=found.content_hash,
            num_bytes=found.num_bytes,
            modified_ns=found.modified_ns,
            roots=roots,
            specs=_specs(repr(process)),
            limits=limits,
        )
    )


def checked(outcome: Any) -> None:
    """Raises RuntimeError unless every measure of it was taken."""
    for measured in outcome.measured:
        if measured.bug or measured.status != "ok":
            raise RuntimeError(measured.bug or measured.reason)


@cache
def _specs(process: str) -> tuple[Any, ...]:
    """process: as Python writes the list, so that it can be remembered."""
    import ast
    import json
    import tempfile

    from dj_assets.measure import spec_of
    from dj_assets.plan import make_plan
    from dj_assets.recipe import load_recipe

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "r.yaml"
        recipe: Mapping[str, Any] = {
            "dataset_path": "ds.jsonl",
            "export_path": "res.jsonl",
            "process": ast.literal_eval(process),
        }
        path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
        return tuple(spec_of(step) for step in make_plan(load_recipe(path)).steps)


@contextmanager
def scored_by(look: Callable[[Any], None]) -> Iterator[None]:
    """Every operator on frames looks at its windows instead of scoring them, and needs no model."""
    import numpy as np

    from dj_assets import operators
    from dj_assets.operators._contract import Scores

    plain = operators.get

    def score(windows: Any, params: Any, model: Any) -> Any:
        look(windows)
        return Scores(np.zeros(len(windows)))

    operators.get = lambda name: replace(plain(name), score=score, load=lambda params, device: None)
    try:
        yield
    finally:
        operators.get = plain


if __name__ == "__main__":
    main()
