"""Keeps the samples whose value of a field lies between two ranks, or two percentiles, of all.

Source: `RangeSpecifiedFieldSelector` of Data-Juicer 1.6.1: of the `upper` smallest the largest `upper - lower`. One
side alone selects nothing, so everything stays, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from dj_assets.operators._contract import Params
from dj_assets.operators._selecting import FIELD_KEY, check_field, number_at, unknown_stat
from dj_assets.operators._whole import Applicant, Candidate, Choice, Fault, Related, Whole, all_but


class RangeSelectorParams(Params):
    """Options that change which samples stay."""

    field_key: str = Field("", description=FIELD_KEY)
    lower_percentile: float | None = Field(None, ge=0, le=1, description="share of the samples below, 0 to 1")
    upper_percentile: float | None = Field(None, ge=0, le=1, description="share of the samples up to the end, 0 to 1")
    lower_rank: int | None = Field(None, ge=1, description="samples below, 1 or more; the larger holds")
    upper_rank: int | None = Field(None, ge=1, description="samples up to the end, 1 or more; the smaller holds")

    def warnings(self) -> Sequence[str]:
        """A range that is open on one side selects nothing."""
        lower = self.lower_percentile is not None or self.lower_rank is not None
        upper = self.upper_percentile is not None or self.upper_rank is not None
        if not self.field_key or lower == upper:
            return ()
        missing = "an upper" if lower else "a lower"
        return (f"without {missing} percentile or rank it keeps everything, as Data-Juicer does",)


def paper(applicant: Applicant, params: RangeSelectorParams) -> float | None:
    """The number of the field, of a list its mean; None where there is none."""
    return number_at(applicant.record, params.field_key) if params.field_key else None


def choose(candidates: Sequence[Candidate], params: RangeSelectorParams, related: Related) -> Choice:
    """Samples without a number come before all others, as upstream's smallest number does."""
    if len(candidates) <= 1 or not _is_asked(params):
        return Choice()
    check_field(candidates, params.field_key)
    lower, upper = _ranks(params, len(candidates))
    papers = [candidate.paper for candidate in candidates]
    ascending = sorted(range(len(papers)), key=lambda place: _key(papers[place]))[:upper]
    chosen = sorted(ascending, key=lambda place: _key(papers[place]), reverse=True)[: upper - lower]
    return all_but(candidates, set(chosen), says=f"not among {keeps(params)}")


def _key(value: float | None) -> tuple[bool, float]:
    return value is not None, value or 0.0


def _ranks(params: RangeSelectorParams, count: int) -> tuple[int, int]:
    lower, upper = 0, count
    if params.lower_percentile is not None:
        lower = int(params.lower_percentile * count)
    if params.lower_rank is not None:
        lower = max(lower, params.lower_rank)
    if params.upper_percentile is not None:
        upper = int(params.upper_percentile * count)
    if params.upper_rank is not None:
        upper = min(upper, params.upper_rank)
    return lower, max(lower, upper)


def _is_asked(params: RangeSelectorParams) -> bool:
    lower = params.lower_percentile is not None or params.lower_rank is not None
    upper = params.upper_percentile is not None or params.upper_rank is not None
    return bool(params.field_key) and lower and upper


def keeps(params: RangeSelectorParams) -> str:
    """The rule in words."""
    if not _is_asked(params):
        return "everything"
    lower = _end(params.lower_percentile, params.lower_rank, "larger")
    upper = _end(params.upper_percentile, params.upper_rank, "smaller")
    return f"the samples from {lower} to {upper} by {params.field_key}"


def _end(percentile: float | None, rank: int | None, which: str) -> str:
    words = [f"percentile {percentile * 100:g}"] if percentile is not None else []
    words += [f"rank {rank}"] if rank is not None else []
    return f"the {which} of {' and '.join(words)}" if len(words) > 1 else words[0]


def fault(params: RangeSelectorParams, stats: Mapping[str, bool]) -> Fault | None:
    """A stat that no earlier step measures, but nearly."""
    return unknown_stat(params.field_key, stats)


OPERATOR = Whole(
    name="range_specified_field_selector",
    version=1,
    summary="the samples between two percentiles or ranks of a field or stat",
    kind="selector",
    params=RangeSelectorParams,
    paper=paper,
    choose=choose,
    keeps=keeps,
    fault=fault,
)
