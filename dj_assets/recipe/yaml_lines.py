"""YAML text whose every key remembers its line, in the dialect that Data-Juicer reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from dj_assets.errors import RecipeError

COMMAND_LINE = "command line"
"""What messages name as the file of a value that was typed as an override."""

_MAX_NODES = 100_000
"""More values than any recipe has: nested aliases would otherwise unfold without end."""

_TAG = "tag:yaml.org,2002:"
_INT_TAG, _FLOAT_TAG, _DATE_TAG, _MERGE_TAG = (_TAG + name for name in ("int", "float", "timestamp", "merge"))
_PLAIN_TAGS = frozenset(_TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null"))


def joined_surrogates(text: str) -> str:
    r"""Text with `\ud83d\ude00`, as JSON writers spell an emoji, made one character. Raises UnicodeError on halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


class Dialect(yaml.SafeLoader):
    """YAML 1.1, with `1e-3` a number and dates text, as Data-Juicer's parser has it.

    It differs in one point: `16:9` stays text. YAML 1.1 takes it for the base-60 number 969, which nobody who
    writes an aspect ratio means.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own attribute, rebuilt so that SafeLoader keeps its)
        first: [(tag, regexp) for tag, regexp in pairs if tag not in (_INT_TAG, _FLOAT_TAG, _DATE_TAG)]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Dialect.add_implicit_resolver(
    _INT_TAG,
    re.compile(r"^[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)
Dialect.add_implicit_resolver(
    _FLOAT_TAG,
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+"
        r"|[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Given:
    """A value as the user typed it, and where: file, and line (1-based) or None on the command line."""

    value: Any
    file: str
    line: int | None = None


class Source:
    """One YAML text: a recipe file, or a value of the command line, which has no lines.

    Faults that leave the rest readable (duplicate keys, foreign tags) are collected in `faults`.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[RecipeError] = []
        self._scalars = Dialect("")
        self._num_nodes = 0
        self._open_nodes: set[int] = set()

    def compose(self, text: str) -> yaml.Node | None:
        """The text's root node, None where it holds nothing. Raises `RecipeError` where it is no YAML."""
        try:
            return yaml.compose(text, Loader=Dialect)
        except RecursionError:
            raise self.fault(
                "the YAML nests too deeply",
                line=None,
                allowed="a few levels",
                try_="look for unclosed brackets",
            ) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem, line = error.problem or error.context, mark.line + 1 if mark else None
        except yaml.reader.ReaderError as error:
            problem = f"character #x{error.character:04x} is not printable"
            line = text.count("\n", 0, error.position) + 1
        if self.file == COMMAND_LINE:
            allowed, try_ = "a YAML value", f"quotes inside quotes: '\"{text}\"'"
        else:
            allowed = "one `key: value` per line, nested by spaces"
            try_ = "look at this line and the one above: a missing colon or quote, a tab, an odd indent"
        raise self.fault(f"not valid YAML: {problem}", line=line, allowed=allowed, try_=try_)

    def line(self, node: yaml.Node) -> int | None:
        """1-based line of a node, None on the command line."""
        return None if self.file == COMMAND_LINE else int(node.start_mark.line) + 1

    def fault(self, given: str, *, line: int | None, allowed: str, try_: str) -> RecipeError:
        """An error in this text, not yet raised."""
        place = None if self.file == COMMAND_LINE else line
        return RecipeError(given, allowed=allowed, try_=try_, file=self.file, line=place)

    def items(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key text → (key node, value node), merge keys (`<<`) laid under the mapping's own keys.

        The first of duplicate keys holds, and the others are faults: a second threshold that silently wins
        over the first is how a recipe comes to say one thing and do another.
        """
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == _MERGE_TAG:
                for merged_name, pair in self._merged(value):
                    merged.setdefault(merged_name, pair)
                continue
            name = self._key(key)
            if name in own:
                first = self.line(own[name][0])
                where = f", first in line {first}" if first else ""
                self._collect(key, f"key {name!r} is given twice{where}", "each key once", "keep one of them")
            elif name is not None:
                own[name] = (key, value)
        return {**merged, **own}

    def value(self, node: yaml.Node) -> Any:
        """A node as plain Python: dict, list, str, int, float, bool. None and a fault where it cannot."""
        self._count(node)
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace(_TAG, "!!")
            self._collect(node, f"tag {tag} is not read", "plain YAML values", "write the value without the tag")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return {name: self.value(value) for name, (_, value) in self.items(node).items()}
            return [self.value(item) for item in node.value]
        finally:
            self._open_nodes.discard(id(node))

    def _count(self, node: yaml.Node) -> None:
        self._num_nodes += 1
        if self._num_nodes > _MAX_NODES or id(node) in self._open_nodes:
            raise self.fault(
                "aliases (`*name`) unfold without end",
                line=self.line(node),
                allowed="aliases of values that do not hold themselves",
                try_="write the value out",
            )

    def given(self, node: yaml.Node, *, line_of: yaml.Node | None = None) -> Given:
        """A node's value with its place, by default the node's own, else that of `line_of` (its key)."""
        return Given(self.value(node), self.file, self.line(line_of or node))

    def _merged(self, node: yaml.Node) -> Iterator[tuple[str, tuple[yaml.Node, yaml.Node]]]:
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            self._count(part)
            if isinstance(part, yaml.MappingNode):
                self._open_nodes.add(id(part))
                try:
                    yield from self.items(part).items()
                finally:
                    self._open_nodes.discard(id(part))
            else:
                self._collect(part, "`<<` merges something else than a mapping", "`<<: *name`", "remove it")

    def _key(self, node: yaml.Node) -> str | None:
        """A key as it is spelled (`on`, which YAML 1.1 takes for true, is still `on`). None, and a fault, if none."""
        if not isinstance(node, yaml.ScalarNode):
            self._collect(node, "a key is a list or a mapping", "text keys", "write the key as one word")
            return None
        try:
            return joined_surrogates(node.value)
        except UnicodeError:
            self._collect(node, f"key {node.value!r} is not text", "Unicode characters", "look at its \\u escapes")
            return None

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            value = self._scalars.construct_object(node)
            return joined_surrogates(value) if isinstance(value, str) else value
        except UnicodeError:
            self._collect(node, f"{node.value!r} is not text", "Unicode characters", "look at its \\u escapes")
            return None
        except (yaml.YAMLError, ValueError, KeyError):  # an explicit tag that its text does not fit
            tag = node.tag.replace(_TAG, "!!")
            self._collect(node, f"{node.value!r} is not {tag}", "plain YAML values", "write the value without the tag")
            return None

    def _collect(self, node: yaml.Node, given: str, allowed: str, try_: str) -> None:
        self.faults.append(self.fault(given, line=self.line(node), allowed=allowed, try_=try_))
