"""Keeps the samples whose value of a field is among the most, or least, frequent ones.

Source: `FrequencySpecifiedFieldSelector` of Data-Juicer 1.6.1. Of equally frequent values the first in the dataset goes
first, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from dj_assets.operators._contract import Params
from dj_assets.operators._selecting import (
    check_field,
    in_words,
    share_or_number,
    stat_of,
    unknown_stat,
    word_at,
)
from dj_assets.operators._whole import Applicant, Candidate, Choice, Fault, Paper, Related, Whole, all_but


class FrequencySelectorParams(Params):
    """Options that change which samples stay."""

    field_key: str = Field("", description="a field, `a.b` for field b of the object in a; its values are counted")
    top_ratio: float | None = Field(None, ge=0, le=1, description="share of the distinct values, 0 to 1")
    topk: int | None = Field(None, ge=1, description="number of distinct values, 1 or more")
    reverse: bool = Field(True, description="true for the most frequent values, false for the least")


def paper(applicant: Applicant, params: FrequencySelectorParams) -> Paper:
    """The text or number of the field, None where there is none: which is a value, too."""
    return word_at(applicant.record, params.field_key, sample_id=applicant.sample_id) if params.field_key else None


def choose(candidates: Sequence[Candidate], params: FrequencySelectorParams, related: Related) -> Choice:
    """The samples that have one of the chosen values. All where nothing is asked."""
    groups: dict[Paper, list[int]] = {}
    for place, candidate in enumerate(candidates):
        groups.setdefault(candidate.paper, []).append(place)
    number = share_or_number(params.top_ratio, params.topk, of=len(groups))
    if len(candidates) <= 1 or not params.field_key or number is None:
        return Choice()
    check_field(candidates, params.field_key)
    chosen = sorted(groups.values(), key=len, reverse=params.reverse)[: int(number)]
    return all_but(candidates, {place for group in chosen for place in group}, says=f"not among {keeps(params)}")


def keeps(params: FrequencySelectorParams) -> str:
    """The rule in words."""
    if not params.field_key or share_or_number(params.top_ratio, params.topk, of=1) is None:
        return "everything"
    which = "most" if params.reverse else "least"
    values = in_words(params.top_ratio, params.topk, "values")
    return f"the samples with the {which} frequent {params.field_key}: {values}"


def fault(params: FrequencySelectorParams, stats: Mapping[str, bool]) -> Fault | None:
    """A stat that no earlier step measures, but nearly; or one with a number per video: a list cannot be counted."""
    name = stat_of(params.field_key)
    if name is not None and stats.get(name):
        return Fault(
            "field_key",
            f"field_key: {params.field_key} is a list, one number per video",
            "a field that holds a text or a number; upstream fails on a list as well",
            "topk_specified_field_selector or range_specified_field_selector, which take a list's mean",
        )
    return unknown_stat(params.field_key, stats)


OPERATOR = Whole(
    name="frequency_specified_field_selector",
    version=1,
    summary="the samples with the most or least frequent values of a field",
    kind="selector",
    params=FrequencySelectorParams,
    paper=paper,
    choose=choose,
    keeps=keeps,
    fault=fault,
)
