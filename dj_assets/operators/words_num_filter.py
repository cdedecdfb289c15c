"""Keeps samples by the number of words in their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from dj_assets.operators._contract import MAX_INT, Bound, Operator, Stat
from dj_assets.operators._text import TextParams, has_more_than_special_characters, text_of

_BETWEEN = re.compile("[ \n\t]")


class WordsParams(TextParams):
    """What is a word."""

    tokenization: bool = Field(False, description="false: words are what stands between spaces, tabs and newlines")

    @field_validator("tokenization")
    @classmethod
    def _without_a_model(cls, wanted: bool) -> bool:
        if wanted:
            raise ValueError("the SentencePiece models that Data-Juicer downloads for it are not here")
        return wanted


def judge(record: Mapping[str, Any], params: WordsParams) -> tuple[float]:
    """Words that are more than special characters. `<__dj__video>` is one, as upstream."""
    words = _BETWEEN.split(text_of(record, params))
    return (sum(map(has_more_than_special_characters, words)),)


OPERATOR = Operator(
    name="words_num_filter",
    version=1,
    summary="number of words in the sample's text",
    compute="record",
    params=WordsParams,
    stats=(Stat("num_words", unit="words", is_integer=True),),
    bounds=(
        Bound("min_num", "num_words", "min", 10.0, help="words, 0 or more"),
        Bound("max_num", "num_words", "max", MAX_INT, help="words, 0 or more"),
    ),
    judge=judge,
    ignored={"lang": "it only chooses the model of tokenization: true"},
)
