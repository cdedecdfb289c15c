"""Asset checks that cost nothing: they look at what their asset has in hand, and block what must not go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dj_assets import decide
from dj_assets.plan import Step
from dj_assets.samples import Sample
from dj_assets.store.rows import Row, Verdict

if TYPE_CHECKING:
    from dj_assets.export import PartSummary

LINES_ARE_SAMPLES = "samples_equal_manifest_lines"
ROWS_ARE_VIDEOS = "rows_equal_videos"
ONE_VERDICT_EACH = "verdicts_equal_samples"
NOTHING_SKIPPED_IN_VAIN = "nothing_skipped_in_vain"
LINES_ARE_SAMPLES_OUT = "export_lines_equal_samples"

SHOWN = 5


def lines_are_samples(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every manifest record of the shard became a sample, malformed ones included."""
    return dg.AssetCheckSpec(
        LINES_ARE_SAMPLES, asset=asset, blocking=True, description="Samples out = manifest records in."
    )


def check_lines(asset: dg.AssetKey, samples: Sequence[Sample], *, num_records: int) -> dg.AssetCheckResult:
    """num_records: counted when the dataset was cut into shards, independently of the reading."""
    return _counted(LINES_ARE_SAMPLES, asset, "samples", len(samples), "records", num_records)


def rows_are_videos(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every video of the shard has exactly one row per stat."""
    return dg.AssetCheckSpec(
        ROWS_ARE_VIDEOS, asset=asset, blocking=True, description="Rows out = videos in, one per stat."
    )


def check_rows(asset: dg.AssetKey, step: Step, samples: Sequence[Sample], rows: Sequence[Row]) -> dg.AssetCheckResult:
    """Compares which rows there are, not only how many: one lost and one twice would cancel out."""
    found = decide.check_rows(step, samples, rows)
    faults = {"missing": found.missing, "surplus": found.extra, "repeated": found.repeated}
    lines = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in faults.items() if keys]
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=ROWS_ARE_VIDEOS,
        passed=found.is_complete,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(lines) or None,
        metadata={"rows": len(rows), "expected": found.expected},
    )


def measured_other_videos(step: Step, samples: Sequence[Sample], rows: Sequence[Row]) -> bool:
    """Whether a table was made from other videos than the samples name now: other places or other bytes."""
    measured = {(row.sample_id, row.field, row.position): row.fact.content_hash for row in rows}
    return measured != {
        (sample.sample_id, video.field, video.position): video.content_hash
        for sample in samples
        for video in sample.videos
        if video.field == step.video_key
    }


def one_verdict_each(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every sample has exactly one verdict."""
    return dg.AssetCheckSpec(
        ONE_VERDICT_EACH, asset=asset, blocking=True, description="Verdicts out = samples in, in the same order."
    )


def check_verdicts(asset: dg.AssetKey, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> dg.AssetCheckResult:
    """Compares the ids in order."""
    passed = [sample.sample_id for sample in samples] == [verdict.sample_id for verdict in verdicts]
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=ONE_VERDICT_EACH,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"verdicts": len(verdicts), "expected": len(samples)},
    )


def nothing_skipped_in_vain(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Warning: no sample is undecided only because an earlier bound, loosened since, kept it from being measured."""
    return dg.AssetCheckSpec(
        NOTHING_SKIPPED_IN_VAIN,
        asset=asset,
        description="No sample is undecided because it was skipped under bounds that no longer hold. "
        "Where it fails, materialize the stats of this shard, then `filtered`.",
    )


def check_skips(asset: dg.AssetKey, verdicts: Sequence[Verdict]) -> dg.AssetCheckResult:
    """Counts the undecided samples whose reason is `skipped`."""
    skipped = [v for v in verdicts if v.outcome == "undecided" and v.status == "skipped"]
    steps = sorted({verdict.step for verdict in skipped})
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=NOTHING_SKIPPED_IN_VAIN,
        passed=not skipped,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"materialize the stats of {', '.join(steps)} for this partition" if skipped else None,
        metadata={"skipped": len(skipped)},
    )


def lines_are_samples_out(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every sample of the shard is in exactly one of the files, kept or left."""
    return dg.AssetCheckSpec(
        LINES_ARE_SAMPLES_OUT, asset=asset, blocking=True, description="Kept and left lines together = samples in."
    )


def check_lines_written(asset: dg.AssetKey, part: PartSummary, *, num_samples: int) -> dg.AssetCheckResult:
    """Counts the lines that this shard adds to the kept and the dropped file together."""
    num_lines = part.kept + part.set_aside + sum(part.dropped.values())
    return _counted(LINES_ARE_SAMPLES_OUT, asset, "lines", num_lines, "samples", num_samples)


def _counted(name: str, asset: dg.AssetKey, what: str, found: int, of_what: str, expected: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=found == expected,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None if found == expected else f"{found} {what} of {expected} {of_what}",
        metadata={what: found, "expected": expected},
    )


def _some(lines: Sequence[str]) -> str:
    return ", ".join(lines[:SHOWN]) + (", …" if len(lines) > SHOWN else "")
