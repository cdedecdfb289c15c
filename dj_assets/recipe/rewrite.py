"""New option values into a recipe's YAML, everything else kept byte for byte.

    text ─compose→ nodes with marks ─edits at those marks→ new text ─compose→ is it what was meant, and no more?

The text is cut at the marks of PyYAML's nodes and tokens; it is never dumped, so comments, order, quotes, indents and
line ends stay. What a text means is asked before and after: a change that would reach further than its own option,
by an anchor that other places share, is an error and nothing is written.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dj_assets.errors import RecipeError
from dj_assets.recipe.yaml_lines import Dialect, Source, joined_surrogates

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n\r\x85\u2028\u2029]*)?")
_MERGE_TAG = "tag:yaml.org,2002:merge"
_DEFAULT_INDENT = 2
_MAX_TEXT = 200
"""Characters of a text value. Options take words and field names; a novel belongs into the editor."""


@dataclass(frozen=True)
class Change:
    """One option's new value.

    step: its number in `process`, from 1. value: a number, bool, None or short text; an infinite number is written as
    null, which is no bound. default: what holds where the option is not written, for messages; the operators know it,
    the recipe does not.
    """

    step: int
    option: str
    value: Any
    default: str = ""


@dataclass(frozen=True)
class Rewritten:
    """The new text, and one line per option that changed: `process.1.video_duration_filter.min_duration: 2 → 3.5`."""

    text: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class RecipeText:
    """A recipe file as it was read, byte-order mark and line ends kept, and the digest by which it is known again."""

    text: str
    sha256: str


def read_recipe_text(path: str | Path) -> RecipeText:
    """A recipe file as it stands. Raises `RecipeError` where it cannot be read or is not UTF-8."""
    source = Source(str(path))
    try:
        content = Path(path).read_bytes()
        return RecipeText(content.decode("utf-8"), hashlib.sha256(content).hexdigest())
    except UnicodeDecodeError as error:
        raise source.fault(
            "the recipe is not UTF-8 text",
            line=error.object.count(b"\n", 0, error.start) + 1,
            allowed="a YAML file in UTF-8",
            try_="save it again as UTF-8",
        ) from None
    except OSError as error:
        raise source.fault(
            f"the recipe cannot be read: {error.strerror or error}",
            line=None,
            allowed="a YAML file",
            try_="check the path",
        ) from None


def rewrite_recipe(path: str | Path, changes: Sequence[Change], *, expected_sha256: str) -> Rewritten:
    """Change options in a recipe file that is still the one with this digest (`read_recipe_text`).

    The file is replaced whole, with its permissions; a symlink stays one and its target is replaced. Another hard link
    to the file keeps the old text. Raises `RecipeError`, and leaves the file as it was, where it has changed since it
    was read, where it may not be written, or as `with_options` does.
    """
    file = str(path)
    target = Path(os.path.realpath(path))
    found = read_recipe_text(path)
    if found.sha256 != expected_sha256:
        raise _changed_meanwhile(file)
    rewritten = with_options(found.text, changes, file=file)
    if rewritten.text != found.text:
        _replace(target, rewritten.text.encode("utf-8"), expected_sha256, file)
    return rewritten


def with_options(text: str, changes: Sequence[Change], *, file: str = "") -> Rewritten:
    """A recipe's text with these options changed, and nothing else.

    An option that is not written yet comes after the last one of its step. One that an alias or a merge key brings
    gets a value of its own. A value that is there already stays as it is spelled. file: for messages.
    Raises `RecipeError` where the text is no recipe, has no such step, or shares the place with others by an anchor.
    """
    _refuse_repeats(changes, file)
    lines = []
    for change in changes:
        text, line = _with_option(text, change, file)
        lines += [line] if line else []
    return Rewritten(text, tuple(lines))


def _refuse_repeats(changes: Sequence[Change], file: str) -> None:
    places = [(change.step, change.option) for change in changes]
    for step, option in places:
        if places.count((step, option)) > 1:
            raise _error(file, step, option, "two values were given", "one value per option", "give one of them")


def _with_option(text: str, change: Change, file: str) -> tuple[str, str]:
    """(text after one change, the line that says it). The line is empty where the value was there already."""
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    body = text.removeprefix(bom)
    before = _meaning(body, file)
    spot = _find_step(_Layout(body), change, file)
    value = None if isinstance(change.value, float) and math.isinf(change.value) else change.value
    spelled = _spell(change, value, file)
    had = spot.given(before).get(change.option, _ABSENT)
    if _is_same_value(had, value):
        return text, ""
    after = _apply(body, list(_edits(spot, change, spelled, file)))
    _verify(before, after, spot, change, value, file)
    was = (f"(not set, default {change.default})" if change.default else "(not set)") if had is _ABSENT else _say(had)
    return bom + after, f"process.{change.step}.{spot.operator}.{change.option}: {was} → {_say(value)}"


class _Absent:
    """Stands for an option that no line gives; None is a value."""


_ABSENT = _Absent()


# ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────


def _spell(change: Change, value: Any, file: str) -> str:
    """A value as YAML that this dialect and YAML 1.1 read alike. Raises `RecipeError` where it has no spelling."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and not math.isnan(value):
        digits, e, exponent = float.__repr__(value).partition("e")
        # YAML 1.1 takes 1e-05 for a text: its numbers have a point.
        return digits + (".0" if e and "." not in digits else "") + e + exponent
    if isinstance(value, str) and len(value) <= _MAX_TEXT:
        try:
            value.encode()
        except UnicodeError:
            pass
        else:
            return _quoted(value)
    raise _error(
        file,
        change.step,
        change.option,
        f"{change.option} is {str(value)[:80]!r}",
        f"a number, true, false, null, or a text of at most {_MAX_TEXT} characters",
        "edit the recipe by hand for any other value",
    )


def _quoted(text: str, style: str = "") -> str:
    """A text in quotes of this style, where it can have them; bare where no style is given and no quotes are needed."""
    if not style and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) and _reads_as_text(text):
        return text
    return yaml.dump(text, Dumper=yaml.SafeDumper, default_style=style or '"', width=math.inf, allow_unicode=True)[:-1]


def _reads_as_text(text: str) -> bool:
    found = [yaml.compose(text, Loader=loader) for loader in (Dialect, yaml.SafeLoader)]
    return all(node is not None and node.tag.endswith(":str") for node in found)


def _say(value: Any) -> str:
    """A value on one line, as a message shows it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_same_value(one: Any, other: Any) -> bool:
    """Whether two plain values mean the same to an operator: 2 is 2.0, but neither true nor "2"."""
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, int | float):
        return type(one) is type(other) and bool(one == other)
    return isinstance(other, int | float) and one == other


# ── Meaning ─────────────────────────────────────────────────────────────────────────────────────────────────


def _meaning(text: str, file: str) -> dict[str, Any]:
    """What a text says, as plain Python. Raises `RecipeError` where it is no mapping, or has any fault."""
    source = Source(file)
    root = source.compose(text)
    found = None if root is None else source.value(root)
    if source.faults:
        raise source.faults[0]
    if not isinstance(found, dict):
        raise source.fault(
            "the recipe is no mapping",
            line=None,
            allowed="a YAML mapping, `key: value` line by line",
            try_="put the operators under `process:`",
        )
    return found


def _verify(before: dict[str, Any], text: str, spot: _Spot, change: Change, value: Any, file: str) -> None:
    """Raise `RecipeError` unless the new text means the old one with this one option changed."""
    wanted = copy.deepcopy(before)
    options = {**spot.given(before), change.option: value}
    wanted["process"][change.step - 1] = {spot.operator: options}
    try:
        found = _meaning(text, file)
    except RecipeError as error:
        raise _unsafe(spot, change, f"makes a text that cannot be read ({error.given})", file) from error
    differing = next(_differences(wanted, found, ""), "")
    if differing:
        raise _unsafe(spot, change, f"changes {differing} too", file)


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    """Dotted places in which two plain values differ, lists counted from 1. 1, 1.0 and true are three values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            yield from _differences(one.get(name, _ABSENT), other.get(name, _ABSENT), f"{path}.{name}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True), start=1):
            yield from _differences(*pair, f"{path}.{number}")
    elif type(one) is not type(other) or (one != other and not (one != one and other != other)):
        yield path


def _unsafe(spot: _Spot, change: Change, why: str, file: str) -> RecipeError:
    shared = " and ".join(f"*{name}" for name in spot.anchors)
    return _error(
        file,
        change.step,
        change.option,
        f"setting {change.option} in these lines {why}",
        "lines that no other place of the file shares",
        f"write the values out where {shared} stands" if shared else "edit the recipe by hand",
        line=spot.line,
    )


def _error(
    file: str, step: int, option: str, given: str, allowed: str, try_: str, *, line: int | None = None
) -> RecipeError:
    return RecipeError(given, allowed=allowed, try_=try_, file=file, line=line, step=str(step), option=option)


# ── Layout ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Placed(Dialect):
    """Gives each alias a node of its own, which stands where the alias does; YAML's stands at the anchor."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.alias_names: dict[int, str] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if not self.check_event(yaml.AliasEvent):
            return super().compose_node(parent, index)
        event: Any = self.peek_event()
        node: Any = copy.copy(super().compose_node(parent, index))
        node.start_mark, node.end_mark = event.start_mark, event.end_mark
        self.alias_names[id(node)] = event.anchor
        return node


class _Layout:
    """Where the nodes and tokens of a valid text stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        loader = _Placed(text)
        try:
            self.root: Any = loader.get_single_node()
        finally:
            loader.dispose()
        self.aliases = loader.alias_names
        # A token of no length (a block's begin and end) says nothing about the text.
        self.tokens = [t for t in yaml.scan(text, Loader=Dialect) if t.start_mark.index < t.end_mark.index]

    def alias_of(self, node: yaml.Node) -> str:
        """Name of the anchor that a node stands for; empty where it is written out."""
        return self.aliases.get(id(node), "")

    def inside(self, node: yaml.Node) -> list[yaml.Token]:
        """Tokens of a node, from its anchor and tag to its end."""
        start, end = _span(node)
        return [t for t in self.tokens if t.start_mark.index >= start and t.end_mark.index <= end]

    def line_break(self, position: int) -> tuple[int, str] | None:
        """(where the next line starts, the break before it); None where something but a comment follows.

        On the last line without a break: (end of the text, "").
        """
        rest = _REST_OF_LINE.match(self.text, position)
        end = rest.end() if rest else position
        found = _BREAK.match(self.text, end)
        if found:
            return found.end(), found[0]
        return (end, "") if end == len(self.text) else None

    def new_line(self, position: int, content: str) -> _Edit | None:
        """A line after the one with `position`, ended as that is. None where something but a comment follows there."""
        found = self.line_break(position)
        if found is None:
            return None
        start, break_ = found
        if break_:
            return _Edit(start, start, content + break_)
        *_, last = "\n", *(match[0] for match in _BREAK.finditer(self.text))
        return _Edit(start, start, last + content)


class _Edit(NamedTuple):
    """Replace text[start:end] by `text`."""

    start: int
    end: int
    text: str


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    """From the last to the first, so that marks stay right; edits of one place stay in their order."""
    for edit in sorted(edits, key=lambda edit: edit.start)[::-1]:
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _span(node: yaml.Node | yaml.Token) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


@dataclass(frozen=True)
class _Spot:
    """A step in its layout. entry: the item of `process`. options: None for a bare operator's name.

    is_block: whether a new line can hold an option.
    """

    layout: _Layout
    number: int
    operator: str
    entry: yaml.Node
    name: yaml.Node
    options: yaml.Node | None
    is_block: bool

    @property
    def line(self) -> int:
        return int(self.name.start_mark.line) + 1

    @property
    def anchors(self) -> list[str]:
        """Anchors in the entry, and around it."""
        return [t.value for t in self.layout.inside(self.entry) if isinstance(t, yaml.AnchorToken)]

    def given(self, meaning: Mapping[str, Any]) -> dict[str, Any]:
        """The step's options, those that are merged included, as a text means them."""
        entry = meaning["process"][self.number - 1]
        options = entry[self.operator] if isinstance(entry, dict) else None
        return options or {}


def _find_step(layout: _Layout, change: Change, file: str) -> _Spot:
    """Raises `RecipeError` where the file itself does not hold the step, or holds it elsewhere, behind an alias."""
    process = _own(layout.root).get("process", (None, None))[1]
    if not isinstance(process, yaml.SequenceNode):
        raise _no_step(change, 0, file)
    if not 1 <= change.step <= len(process.value):
        raise _no_step(change, len(process.value), file)
    entry = process.value[change.step - 1]
    for node in (process, entry):
        if layout.alias_of(node):
            raise _elsewhere(layout, node, change, file)
    is_block = not process.flow_style and not (isinstance(entry, yaml.MappingNode) and entry.flow_style)
    if isinstance(entry, yaml.ScalarNode):
        return _Spot(layout, change.step, _text_of(entry), entry, entry, None, is_block)
    own = _own(entry) if isinstance(entry, yaml.MappingNode) else {}
    if len(own) != 1 or len(entry.value) != 1:
        raise _elsewhere(layout, entry, change, file)
    [(operator, (name, options))] = own.items()
    return _Spot(layout, change.step, operator, entry, name, options, is_block)


def _own(mapping: yaml.Node) -> dict[str, tuple[Any, Any]]:
    """Key text → (key node, value node) of a mapping's own keys, without those that are merged in."""
    return {_text_of(key): (key, value) for key, value in mapping.value if key.tag != _MERGE_TAG}


def _text_of(node: yaml.Node) -> str:
    return joined_surrogates(node.value)


def _no_step(change: Change, num_steps: int, file: str) -> RecipeError:
    steps = f"a step from 1 to {num_steps}" if num_steps else "a recipe with steps under `process:`"
    given = f"process has {num_steps} steps in this file, and none has number {change.step}"
    return _error(file, change.step, change.option, given, steps, "read the recipe again")


def _elsewhere(layout: _Layout, node: yaml.Node, change: Change, file: str) -> RecipeError:
    name = layout.alias_of(node)
    return _error(
        file,
        change.step,
        change.option,
        f"the step is not written here: *{name} stands in its place" if name else "the step is not one operator",
        "a step that is written out: `- operator: {option: value}`",
        f"write the step out where *{name} stands" if name else "edit the recipe by hand",
        line=int(node.start_mark.line) + 1,
    )


# ── Edits ───────────────────────────────────────────────────────────────────────────────────────────────────


def _edits(spot: _Spot, change: Change, value: str, file: str) -> Iterator[_Edit]:
    """What to write where so that a step's option has this value."""
    key = _quoted(change.option)
    options = spot.options
    if isinstance(options, yaml.MappingNode) and not spot.layout.alias_of(options):
        own = _own(options)
        if change.option in own:
            yield from _replace_value(spot, own[change.option], value, change, file)
        elif options.flow_style:
            yield from _add_in_braces(spot.layout, options, f"{key}: {value}")
        else:
            yield from _add_line(spot.layout, options, f"{key}: {value}")
    elif isinstance(options, yaml.MappingNode):  # *name: its keys, and over them one of the step's own
        merged = f"<<: *{spot.layout.alias_of(options)}, {key}: {value}"
        yield from _replace_node(spot.layout, spot.name, options, f"{{{merged}}}")
    else:
        yield from _open_options(spot, f"{key}: {value}")


def _replace_value(
    spot: _Spot, pair: tuple[yaml.Node, yaml.Node], value: str, change: Change, file: str
) -> Iterator[_Edit]:
    name, node = pair
    if not spot.layout.alias_of(node):
        style = node.style if isinstance(node, yaml.ScalarNode) else ""
        is_scalar = isinstance(node, yaml.ScalarNode)
        if not is_scalar or style in ("|", ">"):
            raise _error(
                file,
                change.step,
                change.option,
                f"{change.option} is written as {'a block of lines' if is_scalar else 'a list or a mapping'}",
                "a value on its key's line",
                f"write `{change.option}: {value}` by hand",
                line=int(name.start_mark.line) + 1,
            )
        if isinstance(change.value, str) and style:
            value = _quoted(change.value, style)
    yield from _replace_node(spot.layout, name, node, value)


def _replace_node(layout: _Layout, name: yaml.Node, node: yaml.Node, value: str) -> Iterator[_Edit]:
    """Replace a scalar or an alias. An anchor stays; a tag, which the new value may not fit, goes."""
    if layout.alias_of(node):
        yield _Edit(*_span(node), value)
        return
    tokens = layout.inside(node)
    for tag in (token for token in tokens if isinstance(token, yaml.TagToken)):
        start, end = _span(tag)
        yield _Edit(start, end + len(layout.text[end:]) - len(layout.text[end:].lstrip(" \t")), "")
    for scalar in (token for token in tokens if isinstance(token, yaml.ScalarToken)):
        yield _Edit(*_span(scalar), value)
        return
    end = node.end_mark.index if tokens else _end_of_key(layout, name)
    yield _Edit(end, end, f" {value}" if end > name.end_mark.index else f": {value}")


def _end_of_key(layout: _Layout, name: yaml.Node) -> int:
    """Where a value may begin: behind the key's colon, or behind the key where it has none."""
    end = int(name.end_mark.index)
    following = next((token for token in layout.tokens if token.start_mark.index >= end), None)
    return int(following.end_mark.index) if isinstance(following, yaml.ValueToken) else end


def _open_options(spot: _Spot, option: str) -> Iterator[_Edit]:
    """Give a step its first option: `- operator`, `- operator:` or `- operator: null`."""
    layout, node = spot.layout, spot.options
    if node is None:
        end = int(spot.name.end_mark.index)
        line = layout.new_line(end, _indented(spot, option)) if spot.is_block else None
        yield from [_Edit(end, end, ":"), line] if line else [_Edit(end, end, f": {{{option}}}")]
        return
    colon = _end_of_key(layout, spot.name)
    is_empty = not layout.alias_of(node) and not layout.inside(node) and colon > spot.name.end_mark.index
    line = layout.new_line(colon, _indented(spot, option)) if spot.is_block and is_empty else None
    yield from [line] if line else _replace_node(layout, spot.name, node, f"{{{option}}}")


def _indented(spot: _Spot, option: str) -> str:
    """A first option's line, as far to the right of its operator as the other steps have theirs."""
    steps = _own(spot.layout.root)["process"][1].value
    for entry in steps:
        for name, options in entry.value if isinstance(entry, yaml.MappingNode) else []:
            is_block = isinstance(options, yaml.MappingNode) and not options.flow_style
            if is_block and options.value and not spot.layout.alias_of(options):
                deeper = options.value[0][0].start_mark.column - name.start_mark.column
                if deeper > 0:
                    return " " * (spot.name.start_mark.column + deeper) + option
    return " " * (spot.name.start_mark.column + _DEFAULT_INDENT) + option


def _add_line(layout: _Layout, options: yaml.MappingNode, option: str) -> Iterator[_Edit]:
    """A line below a block's last option, indented like its first."""
    last = layout.inside(options)[-1]
    content = " " * options.value[0][0].start_mark.column + option
    end = int(last.end_mark.index)
    if layout.text[end - 1] in "\n\r\x85\u2028\u2029":  # a block of lines ends behind its last break
        yield _Edit(end, end, content + ("\r\n" if layout.text.endswith("\r\n", 0, end) else layout.text[end - 1]))
        return
    line = layout.new_line(end, content)
    yield line or _Edit(end, end, "\n" + content)  # where something follows, this is refused when it is read again


def _add_in_braces(layout: _Layout, options: yaml.MappingNode, option: str) -> Iterator[_Edit]:
    """`{a: 1}` → `{a: 1, b: 2}`; on a line of its own where the last option has one."""
    *inner, _closing = layout.inside(options)
    opening = next(n for n, token in enumerate(inner) if isinstance(token, yaml.FlowMappingStartToken))
    inner = inner[opening:]
    has_comma = isinstance(inner[-1], yaml.FlowEntryToken)
    if len(inner) == 1:
        yield _Edit(inner[0].end_mark.index, inner[0].end_mark.index, option)
        return
    end = int(inner[-1].end_mark.index)
    key = options.value[-1][0].start_mark
    indent = layout.text[key.index - key.column : key.index]
    own_line = layout.new_line(end, indent + option + ("," if has_comma else "")) if not indent.strip(" \t") else None
    if own_line:
        yield from [own_line] if has_comma else [_Edit(end, end, ","), own_line]
    else:
        last = int(inner[-2 if has_comma else -1].end_mark.index)
        yield _Edit(last, last, f", {option}")


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────


def _changed_meanwhile(file: str) -> RecipeError:
    return RecipeError(
        "the recipe has changed on the disk since it was read",
        allowed="the file as it was shown; what somebody wrote meanwhile is not overwritten",
        try_="read the recipe again, then make the change once more",
        file=file,
    )


def _replace(target: Path, content: bytes, expected_sha256: str, file: str) -> None:
    """Put new bytes in a file's place, with its mode, owner and extended attributes.

    The old bytes are looked at once more just before, since an editor takes no lock.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        if not os.access(target, os.W_OK):
            raise PermissionError(13, "it is write-protected")
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            _keep_owner(temporary, target)
            shutil.copystat(target, temporary)
            os.utime(temporary)
            os.fsync(stream.fileno())
        if hashlib.sha256(target.read_bytes()).hexdigest() != expected_sha256:
            raise _changed_meanwhile(file)
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise RecipeError(
            f"the recipe cannot be written: {error.strerror or error}",
            allowed="a file that this user may write, in a folder that has space",
            try_="mend the rights of the file and of its folder, or save under another name",
            file=file,
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _keep_owner(temporary: Path, target: Path) -> None:
    made, was = temporary.stat(), target.stat()
    if (made.st_uid, made.st_gid) != (was.st_uid, was.st_gid):
        os.chown(temporary, was.st_uid, was.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
