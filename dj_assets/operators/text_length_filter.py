"""Keeps samples by the length of their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dj_assets.operators._contract import MAX_INT, Bound, Operator, Stat
from dj_assets.operators._text import TextParams, text_of


def judge(record: Mapping[str, Any], params: TextParams) -> tuple[float]:
    """Unicode code points of the text; special tokens count as they are written."""
    return (len(text_of(record, params)),)


OPERATOR = Operator(
    name="text_length_filter",
    version=1,
    summary="length of the sample's text, in characters",
    compute="record",
    params=TextParams,
    stats=(Stat("text_len", unit="characters", is_integer=True),),
    bounds=(
        Bound("min_len", "text_len", "min", 10.0, help="characters, 0 or more"),
        Bound("max_len", "text_len", "max", MAX_INT, help="characters, 0 or more"),
    ),
    judge=judge,
)
