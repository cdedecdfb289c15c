"""Dotted names of a record's fields: `meta.fps` is the entry `fps` of the object `meta`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dj_assets.errors import NoValue
from dj_assets.operators._text import kind_of


def look_up(record: Mapping[str, Any], key: str) -> Any:
    """What a record has under a dotted name. A field that is not there is null, as in the columns that Data-Juicer
    reads. Raises `NoValue` where something on the way is no object."""
    found: Any = record
    seen: list[str] = []
    for name in key.split("."):
        if not isinstance(found, Mapping):
            raise NoValue(
                f"field {'.'.join(seen)!r} is {kind_of(found)}, so there is no {key!r}",
                allowed="an object on the way to a dotted name",
                try_="mend the record, or the name",
            )
        found = found.get(name)
        seen.append(name)
    return found


def look_up_or_null(record: Mapping[str, Any], key: str) -> Any:
    """The same, null where there is no way to it."""
    try:
        return look_up(record, key) if key else None
    except NoValue:
        return None


def listed(value: Any) -> Sequence[Any]:
    """The entries of a list, or the value alone."""
    return value if isinstance(value, list | tuple) else [value]
