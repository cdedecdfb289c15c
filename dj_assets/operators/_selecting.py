"""What selectors share: a field of a record, as the number or word by which samples are told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from dj_assets.errors import DjAssetsError
from dj_assets.operators._whole import Candidate, Fault, Paper

STATS = "__dj__stats__."

FIELD_KEY = "a field, `a.b` for field b of the object in a; __dj__stats__.NAME for a stat"


def at(record: Mapping[str, Any], field_key: str) -> Any:
    """The value of a field, `a.b` being field `b` of the object in field `a`; None where there is none."""
    value: Any = record
    for name in field_key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def as_number(value: Any) -> float | None:
    """A value as upstream makes a number of it: a text is read, of a list it is the mean. None where there is none, for
    which upstream takes the largest or smallest number there is (`stats_to_number`, v1.6.1)."""
    try:
        number = float(value) if isinstance(value, str | int | float | Decimal) else _mean(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _mean(value: Any) -> float:
    numbers = list(_flat(value))
    return math.fsum(numbers) / len(numbers)


def _flat(value: Any) -> Sequence[float]:
    if isinstance(value, list | tuple):
        return [number for inside in value for number in _flat(inside)]
    if not isinstance(value, int | float | Decimal):
        raise TypeError(f"{value!r} is no number")
    return [float(value)]


def number_at(record: Mapping[str, Any], field_key: str) -> float | None:
    """The number of a field."""
    return as_number(at(record, field_key))


def word_at(record: Mapping[str, Any], field_key: str, *, sample_id: str) -> Paper:
    """The text, number or nothing of a field. NaN is nothing, as pandas writes it into Parquet: it could not be put in
    order. Decimals of Parquet are numbers. Raises `DjAssetsError` for a list or an object, as upstream."""
    value = at(record, field_key)
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == int(value) else float(value)
    if value is None or isinstance(value, str | int | float):
        return None if isinstance(value, float) and math.isnan(value) else value
    raise DjAssetsError(
        f"field {field_key!r} of {sample_id} is {type(value).__name__} {str(value)[:60]!r}",
        allowed="a text, a number or nothing: values are counted, and compared whole",
        try_="another field_key",
    )


def check_field(candidates: Sequence[Candidate], field_key: str) -> None:
    """Raises `DjAssetsError` where no sample has the field: then nothing could be told from it."""
    if all(candidate.paper is None for candidate in candidates):
        raise DjAssetsError(
            f"field {field_key!r} has no value in any of {len(candidates)} samples",
            allowed="a field of the manifest, dotted where it is nested; a stat as __dj__stats__.NAME",
            try_="mend the spelling of field_key, or list the operator that measures the stat before the selector",
        )


def stat_of(field_key: str) -> str | None:
    """The stat that a field names; None for any other field."""
    return field_key.removeprefix(STATS) if field_key.startswith(STATS) else None


def unknown_stat(field_key: str, stats: Mapping[str, bool]) -> Fault | None:
    """A misspelt stat. stats: export names of what earlier steps measure. One that is near none of them may be the
    manifest's own."""
    name = stat_of(field_key)
    if name is None or name in stats or not (near := get_close_matches(name, stats, n=2, cutoff=0.6)):
        return None
    return Fault(
        "field_key",
        f"field_key: {field_key}: no earlier step measures {name}",
        f"what earlier steps measure ({', '.join(STATS + one for one in stats)}), or a field of the manifest",
        f"did you mean {' or '.join(STATS + one for one in near)}?",
    )


def share_or_number(ratio: float | None, number: int | None, *, of: int) -> float | None:
    """How many to take: the smaller of a share of all and a number; None where neither is set.

    A share of 0 is one that is not set, as upstream.
    """
    if not ratio:
        return number or None
    return min(ratio * of, number) if number else ratio * of


def in_words(ratio: float | None, number: int | None, what: str = "samples") -> str:
    """`10 % of the samples`, `100 samples`, `10 % of the samples, but at most 100`."""
    counted = what.removesuffix("s") if number == 1 else what
    if not ratio:
        return f"{number} {counted}"
    share = f"{100 * ratio:.10g} % of the {what}"
    return f"{share}, but at most {number}" if number else share
