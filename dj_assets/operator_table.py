"""Which of Data-Juicer's video operators run here, and how: the registry laid beside the catalogue of upstream's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dj_assets import operators
from dj_assets.operators import _upstream
from dj_assets.operators._contract import MAX_INT
from dj_assets.step_options import BASE_OPTIONS_WITHOUT_EFFECT, VERDICT_OPTIONS

KINDS = ("filter", "deduplicator", "selector", "mapper")
"""In the order of the table."""

BEGIN = "<!-- made by `dj-assets operators --into docs/operators.md`; do not edit -->"
END = "<!-- end of what is made -->"

SHARED = frozenset((*VERDICT_OPTIONS, *BASE_OPTIONS_WITHOUT_EFFECT, "video_key", "accelerator"))
"""Options that every operator takes, or none has a use for; the table does not repeat them."""


@dataclass(frozen=True)
class Line:
    """One operator of the table.

    here: `offline`, `needs weights: …`, or `refused: …` with the reason and what to use instead. differs: how its
    options differ from upstream's; empty where they do not.
    """

    name: str
    kind: str
    here: str
    differs: str = ""

    @property
    def is_refused(self) -> bool:
        return self.here.startswith("refused")


def upstream_lines() -> list[Line]:
    """Every operator of Data-Juicer's that is of use on samples with videos, and every other that runs here."""
    built = set(_built())
    names = {*_upstream.KNOWN, *(built & set(_upstream.others()))}
    lines = [_line(name, is_built=name in built) for name in names]
    return sorted(lines, key=lambda line: (_place(line.kind), line.is_refused, line.name))


def own_lines() -> list[tuple[str, str, str]]:
    """Name, kind and summary of the operators that Data-Juicer does not have."""
    own = [operators.get(name) for name in _built() if _upstream.find(name) is None]
    return [(one.name, one.kind, one.summary) for one in sorted(own, key=lambda one: (_place(one.kind), one.name))]


def refused_groups() -> Iterator[tuple[_upstream.Group, tuple[str, ...]]]:
    """Groups of operators that have nothing to do with videos, with the names that no package provides."""
    built = set(operators.names())
    for group in _upstream.OTHERS:
        yield group, tuple(name for name in sorted(group.names) if name not in built)


def _built() -> tuple[str, ...]:
    """The operators of this package, without those that others have joined to it."""
    ours = operators.__name__ + "."
    return tuple(name for name, module in operators.locations().items() if module.startswith(ours))


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _line(name: str, *, is_built: bool) -> Line:
    known = _upstream.find(name)
    assert known is not None
    if is_built:
        here = f"needs weights: {known.weights}" if known.weights else "offline"
        return Line(name, _upstream.kind(name), here, "; ".join(_differences(name)))
    reason = known.reason or _upstream.NOT_BUILT
    instead = f". Instead: {known.instead}" if known.instead else ""
    return Line(name, _upstream.kind(name), f"refused: {reason}{instead}")


# ── Options beside upstream's ────────────────────────────────────────────────────────────────────────────────


def option_defaults(operator: Any) -> dict[str, Any]:
    """Every option that moves a number, a verdict or a product -> its default; None where it must be given."""
    parts = [part for part in (operator, getattr(operator, "measure", None)) if part is not None]
    found: dict[str, Any] = {}
    for part in parts:
        for name, info in part.params.model_fields.items():
            found[name] = None if info.is_required() else info.get_default(call_default_factory=True)
        found.update((bound.option, bound.default) for bound in getattr(part, "bounds", ()))
    return found


def _differences(name: str) -> Iterator[str]:
    """How an operator's options differ from upstream's of the same name, kind of difference by kind."""
    if name not in _upstream.options():
        return  # of an operator whose options are not written down
    operator: Any = operators.get(name)
    theirs = {option: value for option, value in _upstream.options()[name].items() if option not in SHARED}
    defaults = option_defaults(operator)
    taken = [option for option in operator.option_names if option not in (*operator.ignored, *operator.refused)]
    for option, value in theirs.items():
        if option in defaults and not _is_same(operator, option, defaults[option], value):
            yield f"`{option}` is {_shown(defaults[option])} by default, upstream {_shown(value)}"
    for words, options in (
        ("ours", [option for option in taken if option not in theirs and option not in SHARED]),
        ("without effect", [option for option in theirs if option in operator.ignored]),
        ("refused unless at upstream's default", [option for option in theirs if option in operator.refused]),
        ("not taken", [option for option in theirs if option not in operator.option_names]),
    ):
        if options:
            yield f"{words}: {', '.join(f'`{option}`' for option in options)}"


def _is_same(operator: Any, option: str, ours: Any, theirs: Any) -> bool:
    readers = {bound.option: bound.read for bound in getattr(operator, "bounds", ())}
    if option in readers and theirs is not None:
        theirs = readers[option](theirs)
    if _has_no_limit(ours) and _has_no_limit(theirs):
        return True
    return bool(ours == theirs or json.dumps(ours, default=str) == json.dumps(theirs, default=str))


def _has_no_limit(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and abs(value) >= MAX_INT)


def _shown(value: Any) -> str:
    return "`null`" if _has_no_limit(value) else f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────


def markdown() -> str:
    """The tables of docs/operators.md, by the registry and the catalogue."""
    lines = upstream_lines()
    count_by_word: Mapping[str, int] = {
        "run here offline": sum(line.here == "offline" for line in lines),
        "run here with weights": sum(line.here.startswith("needs") for line in lines),
        "are refused": sum(line.is_refused for line in lines),
    }
    counts = ", ".join(f"{count} {words}" for words, count in count_by_word.items())
    parts = [
        f"Of {len(lines)} operators of {_upstream.RELEASE} that are of use on samples with videos, {counts}.",
        "",
        *_table(
            ("operator", "kind", "here", "options that differ"),
            [(f"`{line.name}`", line.kind, line.here, line.differs) for line in lines],
        ),
        "",
        "## Ours",
        "",
        "Data-Juicer has none of these; `dj-process` refuses a recipe that lists one.",
        "",
        *_table(("operator", "kind", "what it goes by"), [(f"`{name}`", *rest) for name, *rest in own_lines()]),
        "",
        "## Data-Juicer's other operators",
        "",
        "They have nothing to do with videos. A recipe that lists one is refused with the reason.",
        "",
        *_table(
            ("they work on", "why they are refused", "instead", "operators"),
            [
                (group.about, group.reason, group.instead, ", ".join(f"`{name}`" for name in names))
                for group, names in refused_groups()
                if names
            ],
        ),
    ]
    return "\n".join(parts) + "\n"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def put_into(page: str, table: str) -> str:
    """The page with the table between its two markers. Raises ValueError where it has not one of each, in order."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"expected one line {BEGIN!r} and, after it, one line {END!r}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"
