"""A small project and a measure that answers from a table, so that the asset graph can be tested without a video."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from dj_assets import measure
from dj_assets.plan import Pass, Plan, Step, make_plan
from dj_assets.recipe import Recipe, Settings, StepSource
from dj_assets.samples import Sample
from dj_assets.store.rows import Fact, Row

DURATION, MOTION, OCR = "video_duration_filter", "video_motion_score_filter", "video_ocr_area_ratio_filter"

STEPS: dict[str, dict[str, Any]] = {
    DURATION: {"min_duration": 10.0},
    MOTION: {"min_score": 2.0},
    OCR: {"max_area_ratio": 0.2},
}


MEASURE_PASS = measure.measure_pass
"""The real one."""


@dataclass
class Call:
    """One call of `measure_pass`."""

    pass_name: str
    wanted: list[str]
    still_in: set[str] | None
    workers: int


@dataclass
class FakeMeasure:
    """Stands in for `dj_assets.measure`, but of passes on records, which need no video.

    value: (step key, sample id) → number; a sample has line numbers from 1. A video's content is its name without
    folder and suffix, which is the detail of a step over the whole dataset, too.
    """

    value: Callable[[str, str], float] = lambda step_key, sample_id: 100.0
    faults: dict[str, Exception] = field(default_factory=dict)
    lost_rows: set[str] = field(default_factory=set)
    bytes_of_videos: str = "first"
    calls: list[Call] = field(default_factory=list)

    def identify(self, samples: Sequence[Sample], **_: Any) -> list[Sample]:
        return [
            replace(sample, videos=tuple(replace(v, content_hash=self._hash(v.path)) for v in sample.videos))
            for sample in samples
        ]

    def _hash(self, path: str) -> str:
        return f"{self.bytes_of_videos}-{Path(path).stem}"

    def measure_pass(
        self,
        pass_: Pass,
        *,
        samples: Sequence[Sample],
        wanted: Collection[str],
        still_in: Collection[str] | None,
        workers: int,
        progress: Callable[[measure.Progress], None],
        **rest: Any,
    ) -> measure.PassResult:
        if pass_.compute == "record":
            asked = {"samples": samples, "wanted": wanted, "still_in": still_in, "workers": workers}
            return MEASURE_PASS(pass_, **asked, progress=progress, **rest)
        self.calls.append(Call(pass_.compute, list(wanted), None if still_in is None else set(still_in), workers))
        progress(measure.Progress(pass_.compute, len(samples), len(samples), 0, 1.0, 0))
        steps = [step for step in pass_.steps if step.key in wanted]
        return measure.PassResult(
            tables={
                step.key: list(self._rows(step, samples, still_in)) for step in steps if step.key not in self.faults
            },
            seconds=1.0,
            errors={step.key: self.faults[step.key] for step in steps if step.key in self.faults},
        )

    def _rows(self, step: Step, samples: Sequence[Sample], still_in: Collection[str] | None) -> Iterator[Row]:
        for sample in samples:
            skipped = still_in is not None and sample.sample_id not in still_in
            for video in sample.videos if step.key not in self.lost_rows else ():
                fact = Fact(
                    content_hash=video.content_hash,
                    operator=step.operator.name,
                    measure_id=step.measure_id,
                    stat=step.operator.stats[0].name,
                    value=None if skipped else self.value(step.key, sample.sample_id),
                    window_details=() if skipped or step.rule is None else (Path(video.path).stem,),
                    status="skipped" if skipped else "ok",
                    measured_at="" if skipped else f"call {len(self.calls)}",
                    cost_seconds=float(len(self.calls)),
                )
                yield Row(sample.sample_id, video.field, video.position, video.path, fact)

    def wanted(self) -> list[list[str]]:
        """Step keys that each call so far was asked for."""
        return [call.wanted for call in self.calls]


def write_manifest(folder: Path, num_samples: int) -> Path:
    """`ds.jsonl` with one video per line: clip1.mp4, clip2.mp4 …"""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "ds.jsonl"
    lines = [json.dumps({"text": "a clip", "videos": [f"clip{n + 1}.mp4"]}) for n in range(num_samples)]
    manifest.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return manifest


def make_test_plan(
    folder: Path,
    *,
    steps: dict[str, dict[str, Any]] | None = None,
    name: str = "clips",
    **settings: Any,
) -> Plan:
    """The plan of a recipe over `folder/ds.jsonl`. steps: operator → options, default one per kind of pass."""
    chosen = STEPS if steps is None else steps
    recipe = Recipe(
        name=name,
        file=str(folder / f"{name}.yaml"),
        sha256="0" * 64,
        dataset_path=folder / "ds.jsonl",
        export_path=folder / "outputs" / "res.jsonl",
        steps=tuple(StepSource(n + 1, key, options) for n, (key, options) in enumerate(chosen.items())),
        settings=Settings(**settings),
    )
    return make_plan(recipe)


def data_version(instance: dg.DagsterInstance, key: dg.AssetKey, shard_key: str) -> str:
    """Data version of an asset's newest materialization of one shard."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[shard_key]), limit=1
    ).records
    materialization = records[0].asset_materialization
    assert materialization is not None and materialization.tags is not None
    return materialization.tags["dagster/data_version"]


def figures(instance: dg.DagsterInstance, key: dg.AssetKey, shard_key: str) -> dict[str, Any]:
    """Metadata of an asset's newest materialization of one shard."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[shard_key]), limit=1
    ).records
    materialization = records[0].asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}
