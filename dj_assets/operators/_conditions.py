"""Conditions over a record's fields, in Data-Juicer's language: comparisons, `and`, `or`, `not`, dotted names, values.

    10 < num <= 30 and text != 'nothing here' and __dj__meta__.a == 3

Python's own parser reads them; what is made of its tree is decided here, and nothing else of Python can be reached:
no calls, no attributes but the entries of objects, no arithmetic. With a bounded condition the time is bounded, too.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

MOST_CHARACTERS = 4000
MOST_PARTS = 500
MOST_DEPTH = 40

Evaluate = Callable[[Mapping[str, Any]], Any]
"""record → value."""

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_REFUSED = {
    ast.Call: "calls",
    ast.BinOp: "arithmetic",
    ast.Subscript: "subscripts",
    ast.Lambda: "functions",
    ast.IfExp: "if … else",
    ast.JoinedStr: "f-strings",
    ast.Dict: "objects",
    ast.NamedExpr: "assignments",
}


@lru_cache(maxsize=256)
def compiled(condition: str) -> Evaluate:
    """What evaluates a condition. Raises ValueError, in words, where it is none.

    Of a comparison with null every answer is no, but that of `not in`, as upstream; a field that is not there is null.
    What it gives raises TypeError where values cannot be compared.
    """
    return _made(_parsed(condition))


def names_in(condition: str) -> list[str]:
    """Dotted names of the fields that a condition reads. Raises ValueError where it is none."""
    return list(dict.fromkeys(_names(_parsed(condition))))


def compares_with_null(condition: str) -> bool:
    """Whether it compares something with `None` itself, which says nothing. Raises ValueError where it is none."""
    comparisons = (node for node in ast.walk(_parsed(condition)) if isinstance(node, ast.Compare))
    sides = (side for one in comparisons for side in (one.left, *one.comparators))
    return any(isinstance(side, ast.Constant) and side.value is None for side in sides)


def _parsed(condition: str) -> ast.expr:
    if len(condition) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(condition)} characters, at most {MOST_CHARACTERS} are taken")
    try:
        with warnings.catch_warnings(action="ignore"):  # of `1if`, say, which may be meant
            tree = ast.parse(condition.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"it cannot be read: {error.msg}, at character {error.offset}") from None
    except (ValueError, MemoryError, RecursionError, OverflowError):
        raise ValueError("it cannot be read: too deep, or a character that no condition has") from None
    _check_size(tree)
    return tree


def _check_size(tree: ast.expr) -> None:
    """Level by level, so that nothing recurses into what may be too deep."""
    level: list[ast.AST] = [tree]
    parts = depth = 0
    while level:
        parts, depth = parts + len(level), depth + 1
        if parts > MOST_PARTS or depth > MOST_DEPTH:
            raise ValueError(f"it is too large: at most {MOST_PARTS} parts, {MOST_DEPTH} deep")
        level = [child for node in level for child in ast.iter_child_nodes(node)]


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node)
    if not isinstance(node, ast.Attribute):
        for child in ast.iter_child_nodes(node):
            yield from _names(child)


def _made(node: ast.expr) -> Evaluate:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return lambda record: value
        case ast.Name(id=name):
            return lambda record: record.get(name)
        case ast.Attribute(value=inside, attr=name):
            return _entry(_made(inside), name)
        case ast.BoolOp(op=op, values=nodes):
            parts, whole = [_made(one) for one in nodes], all if isinstance(op, ast.And) else any
            return lambda record: whole(part(record) for part in parts)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            sign, part = _SIGNS[type(op)], _made(operand)
            return lambda record: sign(part(record))
        case ast.Compare():
            return _comparison(node)
        case ast.List(elts=nodes) | ast.Tuple(elts=nodes) | ast.Set(elts=nodes):
            parts, kind = [_made(one) for one in nodes], {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
            return lambda record: kind(part(record) for part in parts)
    raise ValueError(f"{_REFUSED.get(type(node), 'this')}: {ast.unparse(node)[:60]!r}, which is not taken")


def _entry(inside: Evaluate, name: str) -> Evaluate:
    def entry(record: Mapping[str, Any]) -> Any:
        found = inside(record)
        return found.get(name) if isinstance(found, Mapping) else None

    return entry


def _comparison(node: ast.Compare) -> Evaluate:
    sides = [_made(side) for side in (node.left, *node.comparators)]
    if unknown := [op for op in node.ops if type(op) not in _COMPARISONS]:
        raise ValueError(
            f"{type(unknown[0]).__name__.lower()!r} is no comparison that is taken: {ast.unparse(node)[:60]!r}"
        )
    signs = [_COMPARISONS[type(op)] for op in node.ops]
    are_not_in = [isinstance(op, ast.NotIn) for op in node.ops]

    def comparison(record: Mapping[str, Any]) -> bool:
        values = [side(record) for side in sides]
        for left, right, compare, is_not_in in zip(values, values[1:], signs, are_not_in, strict=False):
            if left is None or right is None:
                return is_not_in  # and the rest of the chain is not looked at, as upstream
            if not compare(left, right):
                return False
        return True

    return comparison
