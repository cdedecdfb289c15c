"""Keeps samples by the share of letters and digits in their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from dj_assets.operators._contract import MAX_INT, Bound, Operator, Stat
from dj_assets.operators._text import TextParams, text_of


class AlphanumericParams(TextParams):
    """What the letters and digits are a share of."""

    tokenization: bool = Field(False, description="false: the share of all characters")

    @field_validator("tokenization")
    @classmethod
    def _without_a_model(cls, wanted: bool) -> bool:
        if wanted:
            raise ValueError("the tokenizer of pythia-6.9b that Data-Juicer downloads for it is not here")
        return wanted


def judge(record: Mapping[str, Any], params: AlphanumericParams) -> tuple[float]:
    """0 to 1; of an empty text 0, as upstream."""
    text = text_of(record, params)
    return (sum(map(str.isalnum, text)) / len(text) if text else 0.0,)


OPERATOR = Operator(
    name="alphanumeric_filter",
    version=1,
    summary="share of letters and digits in the sample's text, 0 to 1",
    compute="record",
    params=AlphanumericParams,
    stats=(Stat("alnum_ratio", unit="share of characters", high=1.0),),
    bounds=(
        Bound("min_ratio", "alnum_ratio", "min", 0.25, help="share, 0 to 1"),
        Bound("max_ratio", "alnum_ratio", "max", MAX_INT, help="share, 0 to 1"),
    ),
    judge=judge,
)
