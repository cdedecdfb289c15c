"""Keeps samples that came from files of some suffixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from dj_assets.errors import NoValue
from dj_assets.operators._contract import Operator, Params, flag
from dj_assets.operators._text import kind_of

SUFFIX_FIELD = "__dj__suffix__"


class SuffixParams(Params):
    """Which suffixes are wanted."""

    suffixes: tuple[str, ...] = Field((), description="a suffix, or a list of them, dots included; empty: all pass")

    @field_validator("suffixes", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        return () if given is None else (given,) if isinstance(given, str) else given

    def warnings(self) -> Sequence[str]:
        """Tells of a step that asks for nothing."""
        return () if self.suffixes else ("suffixes is empty: every sample passes",)


def judge(record: Mapping[str, Any], params: SuffixParams) -> tuple[float]:
    """1 where the record's `__dj__suffix__` is one of those wanted, to the letter. Raises `NoValue` without one."""
    if not params.suffixes:
        return (1.0,)
    suffix = record.get(SUFFIX_FIELD)
    if not isinstance(suffix, str):
        raise NoValue(
            f"field {SUFFIX_FIELD!r} is {kind_of(suffix) if SUFFIX_FIELD in record else 'not there'}",
            allowed="a suffix such as .txt, as Data-Juicer's loader writes it where it is asked to",
            try_="add the field to the manifest, or filter another one by specified_field_filter",
        )
    return (float(suffix in params.suffixes),)


OPERATOR = Operator(
    name="suffix_filter",
    version=1,
    summary="whether the sample's __dj__suffix__ is one of the wanted, 1 for yes",
    compute="record",
    params=SuffixParams,
    stats=(flag("suffix_is_listed"),),
    bounds=(),
    judge=judge,
)
