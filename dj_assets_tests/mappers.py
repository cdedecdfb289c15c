"""Mappers made by hand: they write small files that say what they are, and decode nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from dj_assets import produce, produce_run
from dj_assets.errors import MediaError
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Mapper, Product, Role
from dj_assets.plan import MapperStep
from dj_assets.produce_run import ProduceTask

OPERATOR_FILE = """
from pydantic import Field
from dj_assets.operators._contract import Params
from dj_assets.operators._mapper import Mapper

class CutParams(Params):
    pieces: int = Field(2, ge=1, description="pieces, 1 or more")

OPERATOR = Mapper(name="scratch_cut_mapper", version=1, summary="pieces of a video", compute="cpu", role="clips",
                  params=CutParams, make=lambda bench, params, model: [], keeps_original="keep_original_sample",
                  aliases={"parts_dir": "save_dir"})
"""
"""A module for the fixture `operator_package`, where a recipe has to name a mapper."""


class CutParams(Params):
    pieces: int = Field(2, ge=1, description="pieces, 1 or more")


def a_mapper(role: Role = "clips", name: str = "scratch_cut_mapper", **fields: Any) -> Mapper:
    """A mapper that is never run by itself; see `Cutter`."""
    frames = {"frames_option": "frame_field"} if role == "frames" else {}
    return Mapper(
        name=name,
        version=1,
        summary="stated by the test",
        compute="cpu",
        role=role,
        params=CutParams,
        make=lambda bench, params, model: [],
        **{**frames, **fields},
    )


def a_mapper_step(role: Role = "clips", *, pieces: int = 2, mapper: Mapper | None = None, **fields: Any) -> MapperStep:
    """A step of `a_mapper`."""
    made = mapper or a_mapper(role)
    params = CutParams(pieces=pieces)
    return MapperStep(
        number=1,
        key=made.name,
        mapper=made,
        params=params,
        video_key="videos",
        device="cpu",
        measure_id=made.measure_id(params, "cpu"),
        frames_field="video_frames" if role == "frames" else "",
        **fields,
    )


class Cutter:
    """Stands in for workers and bench: each video gives as many files as its params say, each of one second.

    calls, texts: stems of the videos that were asked for, and the texts that came with them. fails: stem → what to
    raise. dies: stems whose worker takes too long.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.texts: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.dies: set[str] = set()
        monkeypatch.setattr(produce_run, "make_products", self.make_products)
        monkeypatch.setattr(produce, "schedule", self.schedule)

    def make_products(self, task: ProduceTask) -> Sequence[Product]:
        stem = Path(task.path).stem
        self.calls.append(stem)
        self.texts.append(task.text)
        if stem in self.fails:
            raise self.fails[stem]
        task.folder.mkdir(parents=True, exist_ok=True)
        pieces = json.loads(task.spec.params)["pieces"]
        made = []
        for number in range(pieces):
            path = task.folder / f"{stem}_{task.spec.measure_id}_{number}.mp4"
            path.write_text(f"{task.video.content_hash} {task.spec.measure_id} {number}")
            made.append(Product(str(path), float(number), number + 1.0, text=f"{task.text} piece {number}".strip()))
        return made

    def schedule(self, work: Callable[[ProduceTask], Any], task: ProduceTask, **_: Any) -> Future:
        future: Future = Future()
        if Path(task.path).stem in self.dies:
            future.set_exception(TimeoutError())
        else:
            future.set_result(work(task))
        return future


class Unlucky(MediaError):
    """A video that nothing can be made of."""

    status = "unreadable"
