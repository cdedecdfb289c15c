"""Plans, samples and tables made by hand: operators that measure nothing, numbers that the test states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from dj_assets.errors import NoValue, Status
from dj_assets.operators._contract import Compute, NoParams, Operator, Stat
from dj_assets.plan import Pass, Plan, Step
from dj_assets.ranges import StatRange
from dj_assets.recipe import Recipe, Settings
from dj_assets.samples import SAMPLE_FIELD, Sample, Video
from dj_assets.store.rows import Fact, Row

Value = float | None | Status
"""A measured number, or the status under which there is none; None is `unreadable`."""


def an_operator(name: str, *stats: Stat | str) -> Operator:
    """A filter that is never run."""
    made = tuple(stat if isinstance(stat, Stat) else Stat(stat, "unit") for stat in stats)
    return Operator(
        name=name,
        version=1,
        summary="stated by the test",
        compute="header",
        params=NoParams,
        stats=made,
        bounds=(),
        read=lambda info, params: [0.0] * len(made),
    )


def an_operator_on_records(name: str, *stats: Stat | str) -> Operator:
    """A filter that finds each of its stats in the record's field of that name; anything but a number is no value."""
    made = tuple(stat if isinstance(stat, Stat) else Stat(stat, "unit") for stat in stats)

    def judge(record: Mapping[str, Any], params: Any) -> list[float]:
        found = [record.get(stat.name) for stat in made]
        for stat, value in zip(made, found, strict=True):
            if not isinstance(value, int | float):
                raise NoValue(f"{stat.name} is {value}", allowed="a number", try_="mend it")
        return [float(value) for value in found if value is not None]

    return replace(an_operator(name, *made), compute="record", read=None, judge=judge)


def a_step(
    key: str,
    *ranges: StatRange,
    any_or_all: Literal["any", "all"] = "any",
    video_key: str = "videos",
    number: int = 1,
    stats: Sequence[Stat] = (),
    stat_names: Sequence[str] = (),
    on_records: bool = False,
) -> Step:
    """A step whose operator's stats are those of its ranges, unless stated. on_records: `an_operator_on_records`."""
    make = an_operator_on_records if on_records else an_operator
    operator = make(key.removesuffix("_2"), *(stats or [range_.stat for range_ in ranges]))
    return Step(
        number=number,
        key=key,
        operator=operator,
        params=NoParams(),
        ranges=ranges,
        any_or_all=any_or_all,
        video_key=SAMPLE_FIELD if on_records else video_key,
        device="cpu",
        measure_id=operator.measure_id(NoParams(), "cpu"),
        stat_names=tuple(stat_names) or tuple(stat.name for stat in operator.stats),
    )


def a_plan(*steps: Step, export_path: Path = Path("/out/res.jsonl"), **recipe: Any) -> Plan:
    """A plan of these steps. recipe: fields of `Recipe`, and of its settings."""
    settings = {name: recipe.pop(name) for name in list(recipe) if name in Settings.model_fields}
    made = Recipe(
        name="r",
        file="recipes/r.yaml",
        sha256="0" * 64,
        dataset_path=recipe.pop("dataset_path", Path("/data/ds.jsonl")),
        export_path=export_path,
        steps=(),
        settings=Settings(**settings),
        **recipe,
    )
    kinds: tuple[tuple[Compute, tuple[Step, ...]], ...] = (
        ("record", tuple(step for step in steps if step.is_about_samples)),
        ("header", tuple(step for step in steps if not step.is_about_samples)),
    )
    return Plan(made, steps, tuple(Pass(compute, some) for compute, some in kinds if some))


def a_sample(
    number: int, *paths: str, field: str = "videos", record: Mapping[str, Any] | None = None, **fields: Any
) -> Sample:
    """Sample `ds.jsonl:<number>` with videos of these names in /data."""
    videos = tuple(Video(field, index, path, f"/data/{path}") for index, path in enumerate(paths))
    given = {"text": f"sample {number}", field: list(paths)} if record is None else dict(record)
    return Sample(f"ds.jsonl:{number}", "ds.jsonl", number, given, videos, **fields)


def a_broken_sample(number: int, raw: str = '{"text": ') -> Sample:
    """Sample `ds.jsonl:<number>` of a line that is not JSON."""
    return a_sample(number, record={}, status="malformed", reason=f"line {number}: not JSON", raw=raw)


def a_table(step: Step, samples: Sequence[Sample], values: Sequence[Value], *, stat: str = "") -> list[Row]:
    """Rows of one stat of a step: one value per subject (a video, or the sample itself), in sample order."""
    subjects = [(s, subject) for s in samples for subject in step.subjects(s)]
    name = stat or step.operator.stats[0].name
    return [
        Row(s.sample_id, subject.field, subject.position, subject.path, a_fact(step, name, value))
        for (s, subject), value in zip(subjects, values, strict=True)
    ]


def a_fact(step: Step, stat: str, value: Value) -> Fact:
    """A measured number, or a status with its reason."""
    if isinstance(value, int | float):
        return Fact("h", step.operator.name, step.measure_id, stat, float(value))
    status = value or "unreadable"
    return Fact("h", step.operator.name, step.measure_id, stat, None, status=status, reason=f"because {status}")
