"""Keeps the samples with the largest, or smallest, values of a field.

Source: `TopkSpecifiedFieldSelector` of Data-Juicer 1.6.1. Of equal values the first in the dataset stays, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from dj_assets.errors import DjAssetsError
from dj_assets.operators._contract import Params
from dj_assets.operators._selecting import (
    FIELD_KEY,
    as_number,
    at,
    check_field,
    in_words,
    share_or_number,
    unknown_stat,
    word_at,
)
from dj_assets.operators._whole import Applicant, Candidate, Choice, Fault, Paper, Related, Whole, all_but


class TopkSelectorParams(Params):
    """Options that change which samples stay."""

    field_key: str = Field("", description=FIELD_KEY)
    top_ratio: float | None = Field(None, ge=0, le=1, description="share of the samples, 0 to 1")
    topk: int | None = Field(None, ge=1, description="number of samples, 1 or more")
    reverse: bool = Field(True, description="true for the largest values, false for the smallest")


def paper(applicant: Applicant, params: TopkSelectorParams) -> Paper:
    """The value of the field: of a nested one its number, a list's mean; of a plain one the text or number itself."""
    if not params.field_key:
        return None
    if "." in params.field_key:
        return as_number(at(applicant.record, params.field_key))
    return word_at(applicant.record, params.field_key, sample_id=applicant.sample_id)


def choose(candidates: Sequence[Candidate], params: TopkSelectorParams, related: Related) -> Choice:
    """The samples with the largest (smallest) values; those without a value come last. All where nothing is asked."""
    number = share_or_number(params.top_ratio, params.topk, of=len(candidates))
    if len(candidates) <= 1 or not params.field_key or number is None:
        return Choice()
    check_field(candidates, params.field_key)
    papers = [candidate.paper for candidate in candidates]
    _check_comparable(papers, params.field_key)
    valued = [place for place, value in enumerate(papers) if value is not None]
    # Sorting backwards is stable in Python, too: of equal values the first stays.
    ranked = sorted(valued, key=papers.__getitem__, reverse=params.reverse)
    ranked += [place for place, value in enumerate(papers) if value is None]
    return all_but(candidates, set(ranked[: int(number)]), says=f"not among {keeps(params)}")


def _check_comparable(papers: Sequence[Any], field_key: str) -> None:
    if len({isinstance(value, str) for value in papers if value is not None}) > 1:
        raise DjAssetsError(
            f"field {field_key!r} holds texts in some samples and numbers in others",
            allowed="values that can be put in order: all texts, or all numbers",
            try_="another field_key, or mend the manifest",
        )


def keeps(params: TopkSelectorParams) -> str:
    """The rule in words."""
    if not params.field_key or share_or_number(params.top_ratio, params.topk, of=1) is None:
        return "everything"
    end = "largest" if params.reverse else "smallest"
    return f"the {in_words(params.top_ratio, params.topk)} with the {end} {params.field_key}"


def fault(params: TopkSelectorParams, stats: Mapping[str, bool]) -> Fault | None:
    """A stat that no earlier step measures, but nearly."""
    return unknown_stat(params.field_key, stats)


OPERATOR = Whole(
    name="topk_specified_field_selector",
    version=1,
    summary="the samples with the largest or smallest values of a field or stat",
    kind="selector",
    params=TopkSelectorParams,
    paper=paper,
    choose=choose,
    keeps=keeps,
    fault=fault,
)
