"""Asset checks that cost nothing: they look at what their asset has in hand, and block what must not go on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dj_assets import decide, drift
from dj_assets.decide import Summary
from dj_assets.operators._contract import Stat
from dj_assets.plan import Step
from dj_assets.recipe import Checks
from dj_assets.samples import Sample
from dj_assets.store.rows import Row, Verdict

if TYPE_CHECKING:
    from dj_assets.export import PartSummary

LINES_ARE_SAMPLES = "samples_equal_manifest_lines"
KEPT_WENT_ON = "kept_samples_went_on"
ROWS_ARE_VIDEOS = "rows_equal_videos"
ONE_VERDICT_EACH = "verdicts_equal_samples"
NOTHING_SKIPPED_IN_VAIN = "nothing_skipped_in_vain"
LINES_ARE_SAMPLES_OUT = "export_lines_equal_samples"
LINES_ARE_VERDICTS = "export_lines_equal_verdicts"
IN_RANGE = "numbers_in_stated_range"
MEDIANS_AS_USUAL = "medians_like_other_shards"
FEW_UNDECIDED = "few_undecided"
SOMETHING_KEPT = "something_kept"
KEEP_RATE_AS_USUAL = "keep_rate_like_other_shards"

SHOWN = 5


def lines_are_samples(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every manifest record of the shard became a sample, malformed ones included."""
    return dg.AssetCheckSpec(
        LINES_ARE_SAMPLES, asset=asset, blocking=True, description="Samples out = manifest records in."
    )


def check_lines(asset: dg.AssetKey, samples: Sequence[Sample], *, num_records: int) -> dg.AssetCheckResult:
    """num_records: counted when the dataset was cut into shards, independently of the reading."""
    return _counted(LINES_ARE_SAMPLES, asset, "samples", len(samples), "records", num_records)


def kept_went_on(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every sample that the stage before kept is in this one, or what was made of it, or why nothing was."""
    return dg.AssetCheckSpec(
        KEPT_WENT_ON, asset=asset, blocking=True, description="Every kept sample of the stage before went on."
    )


def check_went_on(asset: dg.AssetKey, kept: Sequence[Sample], samples: Sequence[Sample]) -> dg.AssetCheckResult:
    """Compares which samples there are, not only how many."""
    before, after = {sample.sample_id for sample in kept}, {sample.parent_id for sample in samples}
    faults = {"lost": sorted(before - after), "of nobody": sorted(after - before)}
    ids = [sample.sample_id for sample in samples]
    repeated = len(ids) - len(set(ids))
    lines = [f"{len(names)} {what}: {_some(names)}" for what, names in faults.items() if names]
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=KEPT_WENT_ON,
        passed=not lines and not repeated,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join([*lines, *([f"{repeated} ids twice"] if repeated else [])]) or None,
        metadata={"kept_before": len(kept), "samples": len(samples)},
    )


def rows_are_videos(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: every subject of the step (each video of its field, or each sample) has exactly one row per stat."""
    return dg.AssetCheckSpec(
        ROWS_ARE_VIDEOS,
        asset=asset,
        blocking=True,
        description="Rows out = videos in (of a step on records: samples in), one per stat.",
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
    """Whether a table was made from others than the samples have now: videos at other places, bytes, texts, records."""
    measured = {(row.sample_id, row.field, row.position): row.fact.content_hash for row in rows}
    return measured != {
        (sample.sample_id, subject.field, subject.position): subject.content_hash
        for sample in samples
        for subject in step.subjects(sample)
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


def lines_are_verdicts(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Blocking: the lines of each outcome, counted in the part's file, are the verdicts of that outcome."""
    return dg.AssetCheckSpec(
        LINES_ARE_VERDICTS,
        asset=asset,
        blocking=True,
        description="Lines written = verdicts, by outcome. A shard where they differ is left out of the export.",
    )


def check_lines_by_outcome(
    asset: dg.AssetKey,
    lines: Mapping[str, int],
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    *,
    keeps_undecided: bool,
) -> dg.AssetCheckResult:
    """lines: see `export.lines_of_part`. keeps_undecided: whether the undecided that are samples are kept."""
    expected = {"kept": 0, "dropped": 0, "undecided": 0}
    for sample, verdict in zip(samples, verdicts, strict=True):
        stays = verdict.outcome == "undecided" and keeps_undecided and sample.status == "ok"
        expected["kept" if stays else verdict.outcome] += 1
    found = {outcome: lines.get(outcome, 0) for outcome in expected | dict(lines)}
    faults = [
        f"{outcome}: {count} lines of {expected.get(outcome, 0)} verdicts"
        for outcome, count in found.items()
        if count != expected.get(outcome, 0)
    ]
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=LINES_ARE_VERDICTS,
        passed=not faults,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(faults) or None,
        metadata={f"lines_{outcome}": count for outcome, count in found.items()},
    )


# ------------------------------------------------------------------------------------------- whether the data is odd


def numbers_in_range(asset: dg.AssetKey, step: Step) -> dg.AssetCheckSpec:
    """Blocking: every number lies in the range that its operator says it can have."""
    ranges = ", ".join(f"{stat.name} from {stat.low:g} to {stat.high:g}" for stat in step.operator.stats)
    return dg.AssetCheckSpec(IN_RANGE, asset=asset, blocking=True, description=f"Numbers that can be: {ranges}.")


def outside_range(step: Step, rows: Sequence[Row]) -> list[str]:
    """The numbers that cannot be, each with the place of its subject."""
    stats = {stat.name: stat for stat in step.operator.stats}
    return [
        f"{row.sample_id} {f'{row.field}[{row.position}] ' if row.field else ''}{row.fact.stat} = {row.fact.value:.10g}"
        for row in rows
        if row.fact.value is not None and row.fact.stat in stats and not _can_be(row.fact.value, stats[row.fact.stat])
    ]


def _can_be(value: float, stat: Stat) -> bool:
    return math.isfinite(value) and stat.low <= value <= stat.high and (not stat.is_integer or value == int(value))


def check_range(asset: dg.AssetKey, step: Step, rows: Sequence[Row]) -> dg.AssetCheckResult:
    """NaN and infinity lie in no range."""
    outside = outside_range(step, rows)
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=IN_RANGE,
        passed=not outside,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(outside)} numbers that cannot be: {_some(outside)}" if outside else None,
        metadata={"outside": len(outside), "rows": len(rows)},
    )


def few_undecided(asset: dg.AssetKey, settings: Checks) -> dg.AssetCheckSpec:
    """Not blocking: what was decided is right, and the rest is set aside with its reasons."""
    return dg.AssetCheckSpec(
        FEW_UNDECIDED,
        asset=asset,
        description=f"At most {settings.max_undecided_share:.4g} of the samples are undecided. "
        "The materialization's `first_undecided` says why they are. An error, since somebody has to mend the cause; "
        "not blocking, since what was decided is right.",
    )


def check_undecided(asset: dg.AssetKey, summary: Summary, settings: Checks) -> dg.AssetCheckResult:
    """The share of all samples of the shard."""
    undecided = sum(summary.undecided.values())
    share = undecided / summary.samples if summary.samples else 0.0
    passed = share <= settings.max_undecided_share
    why = ", ".join(f"{count} {status}" for status, count in summary.undecided.items())
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=FEW_UNDECIDED,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None if passed else f"{undecided} of {summary.samples} samples are undecided: {why}",
        metadata={"undecided_share": round(share, 4), "allowed_share": settings.max_undecided_share},
    )


def something_kept(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Warning: the bounds left something of the shard."""
    return dg.AssetCheckSpec(SOMETHING_KEPT, asset=asset, description="At least one sample of the shard is kept.")


def check_kept(asset: dg.AssetKey, summary: Summary) -> dg.AssetCheckResult:
    """A shard without samples has nothing to keep."""
    passed = summary.kept > 0 or summary.samples == 0
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=SOMETHING_KEPT,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if passed else f"none of {summary.samples} samples is kept",
        metadata={"kept": summary.kept},
    )


def keep_rate_as_usual(asset: dg.AssetKey, settings: Checks) -> dg.AssetCheckSpec:
    """Warning: the shard keeps about as much as other shards under the same bounds."""
    return _drift_spec(KEEP_RATE_AS_USUAL, asset, "Share of kept samples", settings)


def check_keep_rates(
    asset: dg.AssetKey,
    counts: Mapping[str, tuple[int, int]],
    others: Mapping[str, tuple[int, int]],
    settings: Checks,
) -> Iterator[tuple[str, dg.AssetCheckResult]]:
    """(shard, result) for each shard of a run, which is compared with the run's own and with others from the store.

    counts, others: shard → (kept, samples).
    """
    every = {key: pair for key, pair in {**others, **counts}.items() if pair[1]}
    rates = {key: kept / samples for key, (kept, samples) in every.items()}
    for key in counts.keys() - every.keys():  # without samples there is no rate
        yield key, _drift_result(KEEP_RATE_AS_USUAL, asset, {})
    for key, near in drift.neighbours(rates):
        if key in counts:
            usual = statistics.median(near) if near else rates[key]
            noise = drift.rate_noise(usual, every[key][1])
            found = drift.compare(rates[key], near, noise=noise, max_drift=settings.max_drift)
            yield key, _drift_result(KEEP_RATE_AS_USUAL, asset, {"keep_rate": found})


def medians_as_usual(asset: dg.AssetKey, settings: Checks) -> dg.AssetCheckSpec:
    """Warning: the numbers lie about where they lie in other shards under the same measure."""
    return _drift_spec(MEDIANS_AS_USUAL, asset, "Median of each stat", settings)


def check_medians(
    asset: dg.AssetKey,
    step: Step,
    rows: Sequence[Row],
    others: Mapping[str, Mapping[str, Sequence[float]]],
    settings: Checks,
) -> dg.AssetCheckResult:
    """others: shard → stat → its numbers. A stat without a number here says nothing."""
    found: dict[str, drift.Comparison | None] = {}
    for stat in step.operator.stats:
        values = [row.fact.value for row in rows if row.fact.stat == stat.name and row.fact.value is not None]
        medians = [statistics.median(of[stat.name]) for of in others.values() if of.get(stat.name)]
        if values:
            noise = drift.median_noise(values, low=stat.low, high=stat.high)
            median = statistics.median(values)
            found[stat.name] = drift.compare(median, medians, noise=noise, max_drift=settings.max_drift)
    return _drift_result(MEDIANS_AS_USUAL, asset, found)


def _drift_spec(name: str, asset: dg.AssetKey, what: str, settings: Checks) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        name,
        asset=asset,
        description=f"{what}: at most {settings.max_drift:g} times the usual spread away from up to "
        f"{drift.MOST_OTHERS} other shards of the same recipe and version. Passes below {drift.LEAST_OTHERS} of them.",
    )


def _drift_result(name: str, asset: dg.AssetKey, found: Mapping[str, drift.Comparison | None]) -> dg.AssetCheckResult:
    compared = {what: one for what, one in found.items() if one is not None}
    far = [
        f"{what} is {one.value:.4g}, where {one.usual:.4g} is usual in {one.num_others} other shards"
        for what, one in compared.items()
        if one.is_far
    ]
    figures: dict[str, float] = {}
    for what, one in compared.items():
        figures |= {what: one.value, f"{what}_usual": one.usual, "other_shards": one.num_others}
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not far,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(far) or (None if compared else "too few other shards to compare with"),
        metadata=figures,
    )


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
