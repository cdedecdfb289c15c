"""Recipe file and command line → a draft: raw values by dotted key, raw steps, and where each of them stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dj_assets.errors import BadOption, RecipeError
from dj_assets.recipe.keys import ALIASES, Kind, as_typed
from dj_assets.recipe.yaml_lines import COMMAND_LINE, Given, Source, joined_surrogates

_SEVERAL_VALUES = ("custom_operator_paths",)
"""Options that take every value up to the next option, as in dj-process."""

_OPERATOR_ENDINGS = ("_filter", "_mapper", "_deduplicator", "_selector", "_grouper", "_aggregator")


@dataclass
class StepDraft:
    """One entry of `process`: the operator's name, its options, and the place of the entry."""

    operator: str
    file: str
    line: int | None
    options: dict[str, Given] = field(default_factory=dict)


@dataclass
class Draft:
    """A recipe being read.

    kinds: every key that a recipe may set, nested ones dotted, with its type. keys: what was set, unknown keys
    included. faults, notes: what was found so far.
    """

    file: str
    kinds: Mapping[str, Kind]
    keys: dict[str, Given] = field(default_factory=dict)
    steps: list[StepDraft] = field(default_factory=list)
    faults: list[RecipeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.groups = {parent for name in self.kinds for parent in _parents(name)}

    def place(self, key: str) -> tuple[str, int | None]:
        """File and line of a key; the recipe as a whole where the key was not set."""
        where = self.keys.get(key)
        return (where.file, where.line) if where else (self.file, None)

    def fault(self, key: str, given: str, *, allowed: str, try_: str) -> None:
        """Note a fault of a key, at the place where it was set."""
        file, line = self.place(key)
        self.faults.append(BadOption(given, allowed=allowed, try_=try_, file=file, line=line, option=key))

    def put(self, key: str, value: Given) -> None:
        """Set a key. It takes the place of its own children, and of a non-mapping above it."""
        for other in list(self.keys):
            if other.startswith(f"{key}.") or key.startswith(f"{other}."):
                del self.keys[other]
        self.keys[key] = value

    def inside(self, group: str) -> list[str]:
        """Names of the keys below a group, relative to it."""
        return sorted(name.removeprefix(f"{group}.") for name in self.kinds if name.startswith(f"{group}."))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean a or b?` with the nearest spellings, empty where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""


def unknown_key(draft: Draft, name: str) -> tuple[str, str]:
    """What to say of a key that is in no table: (allowed, try)."""
    group = next((parent for parent in reversed(_parents(name)) if parent in draft.groups), "")
    if group:
        return f"under {group}: {', '.join(draft.inside(group))}", did_you_mean(name, draft.kinds) or "remove it"
    allowed = "the global keys of Data-Juicer 1.4.3 to 1.6.1, and dj_assets; docs/recipe.md lists them"
    homes = [key for key in draft.kinds if key.endswith(f".{name}") and key.startswith("dj_assets.")]
    homes += [f"{step.operator}.{name}, under process" for step in draft.steps if name in step.options]
    if homes:
        return allowed, f"did you mean {' or '.join(homes)}?"
    if name.endswith(_OPERATOR_ENDINGS):
        return allowed, f"list operators under process, `- {name}:`; on the command line, --{name}.OPTION VALUE"
    return allowed, did_you_mean(name, [*draft.kinds, *draft.groups]) or "remove it"


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────


def read_file(draft: Draft, path: Path, *, content: bytes | None = None) -> None:
    """Fill a draft from a recipe file. Raises `RecipeError` where nothing at all can be made of it.

    content: what the file holds, where it is not to be read.
    """
    source = Source(draft.file)
    root = source.compose(_read_text(source, path, content))
    if root is None or (isinstance(root, yaml.ScalarNode) and source.value(root) is None):
        raise source.fault(
            "the recipe is empty",
            line=None,
            allowed="a YAML mapping with at least dataset_path and process",
            try_="copy one of the recipes that come with dj_assets",
        )
    if not isinstance(root, yaml.MappingNode):
        raise source.fault(
            f"the recipe is {'a list' if isinstance(root, yaml.SequenceNode) else 'a single value'}",
            line=source.line(root),
            allowed="a YAML mapping, `key: value` line by line",
            try_="put the operators under `process:`",
        )
    _take_mapping(draft, source, root, "")
    draft.faults.extend(source.faults)


def _read_text(source: Source, path: Path, content: bytes | None) -> str:
    try:
        return (path.read_bytes() if content is None else content).decode("utf-8-sig")
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
            try_=did_you_mean(path.name, _recipes_beside(path)) or "check the path",
        ) from None


def _recipes_beside(path: Path) -> list[str]:
    try:
        return sorted(other.name for other in path.parent.iterdir() if other.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _take_mapping(draft: Draft, source: Source, mapping: yaml.MappingNode, prefix: str) -> None:
    for written, (key_node, node) in source.items(mapping).items():
        name = prefix + ALIASES.get(written, written)
        # Once dotted and once nested, or under both spellings; YAML sees two different keys there.
        if name in draft.keys and draft.keys[name].file == source.file:
            line = source.line(key_node)
            fault = source.fault(f"key {name!r} is given twice", line=line, allowed="each key once", try_="keep one")
            draft.faults.append(fault)
        else:
            _take(draft, source, name, node, key_node)


def _take(draft: Draft, source: Source, name: str, node: yaml.Node, key_node: yaml.Node) -> None:
    if name in draft.groups and isinstance(node, yaml.MappingNode):
        _take_mapping(draft, source, node, f"{name}.")
    elif name == "process":
        draft.steps = _read_steps(draft, source, node)
        draft.put(name, Given(None, source.file, source.line(key_node)))
    else:
        given = source.given(node, line_of=key_node)
        if name not in draft.groups or given.value is not None:
            draft.put(name, given)


def _read_steps(draft: Draft, source: Source, node: yaml.Node) -> list[StepDraft]:
    if isinstance(node, yaml.SequenceNode):
        read = [_read_step(draft, source, number, entry) for number, entry in enumerate(node.value, start=1)]
        return [step for step in read if step is not None]
    value = source.value(node)
    if value is not None:
        fault = source.fault(
            f"process is {'a mapping' if isinstance(value, dict) else as_typed(value)}",
            line=source.line(node),
            allowed="a list of operators",
            try_="put a dash before each operator: `- video_duration_filter:`",
        )
        fault.option = "process"
        draft.faults.append(fault)
    return []


def _read_step(draft: Draft, source: Source, number: int, node: yaml.Node) -> StepDraft | None:
    """One entry: `- operator: {options}`, `- operator:` or `- operator`. None, and a fault, where it is neither."""
    step, problem, remedy = _parse_step(source, node)
    if step is None:
        fault = source.fault(
            problem,
            line=source.line(node),
            allowed="one operator with its options: `- operator: {option: value}`",
            try_=remedy,
        )
        fault.step = str(number)
        draft.faults.append(fault)
    return step


def _parse_step(source: Source, node: yaml.Node) -> tuple[StepDraft | None, str, str]:
    """(step, "", ""), or (None, what is wrong, what to try)."""
    line = source.line(node)
    if not isinstance(node, yaml.MappingNode):
        value = source.value(node)
        if isinstance(value, str) and value.strip():
            return StepDraft(value, source.file, line), "", ""
        return None, f"the step is {as_typed(value)}", "write an operator's name after the dash"
    entries = source.items(node)
    if len(entries) != 1:
        found = f"has {len(entries)} keys: {', '.join(entries)}" if entries else "is empty"
        return None, f"the step {found}", "indent options below their operator; start each operator with a dash"
    [(operator, (_, options))] = entries.items()
    step = StepDraft(operator, source.file, line)
    if isinstance(options, yaml.MappingNode):
        for name, (key_node, value_node) in source.items(options).items():
            step.options[name] = source.given(value_node, line_of=key_node)
        return step, "", ""
    value = source.value(options)
    if value is None:
        return step, "", ""
    return None, f"the options of {operator} are {as_typed(value)}", "name the option: `option: value`"


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Override:
    """`--name value ...`. values: () for a bare option. is_last: nothing follows it."""

    name: str
    values: tuple[str, ...]
    is_last: bool


def lay_over(draft: Draft, tokens: Sequence[str]) -> None:
    """Lay command-line overrides over a draft. Faults go to the draft."""
    for override in _split(draft, tokens):
        try:
            _apply(draft, override)
        except RecipeError as error:
            error.option = error.option or override.name
            draft.faults.append(error)


def _split(draft: Draft, tokens: Sequence[str]) -> Iterator[_Override]:
    """Group tokens into options with their values. Stray tokens become faults."""
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        name, equals, text = token.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        values = [text] if equals else []
        while position < len(tokens) and not tokens[position].startswith("--"):
            values.append(tokens[position])
            position += 1
        if not token.startswith("--") or not name.strip("_"):
            draft.faults.append(_stray(token))
        elif len(values) > 1 and name not in _SEVERAL_VALUES:
            draft.faults.append(_stray(values[1]))
        else:
            yield _Override(name, tuple(values), is_last=position >= len(tokens))


def _stray(token: str) -> RecipeError:
    return RecipeError(
        f"{token!r} belongs to no option",
        allowed="--key VALUE, --key=VALUE, --operator.option VALUE",
        try_="put quotes around a value that holds spaces, and two dashes before an option",
        file=COMMAND_LINE,
    )


def _apply(draft: Draft, override: _Override) -> None:
    head, dot, option = override.name.partition(".")
    if override.name in draft.kinds or head in draft.groups:
        _override_key(draft, override)
    elif dot and head and option and not difflib.get_close_matches(head, draft.groups, cutoff=0.8):
        _override_option(draft, override, head, option)
    else:
        allowed, try_ = unknown_key(draft, override.name)
        raise BadOption(f"key {override.name!r} is not known", allowed=allowed, try_=try_, file=COMMAND_LINE)


def _override_key(draft: Draft, override: _Override) -> None:
    name, kind = override.name, draft.kinds.get(override.name)
    if len(override.values) > 1:
        draft.put(name, Given(list(override.values), COMMAND_LINE))
        return
    text = _text_of(override, is_flag=kind.is_flag if kind else None)
    if kind and kind.takes_as_is(text):
        draft.put(name, Given(_unicode(text), COMMAND_LINE))
        return
    source, node = _compose(text)
    draft.keys.pop(name, None)
    _take(draft, source, name, node, node)
    draft.faults.extend(source.faults)


def _override_option(draft: Draft, override: _Override, operator: str, option: str) -> None:
    source, node = _compose(_text_of(override, is_flag=None))
    given = source.given(node)
    draft.faults.extend(source.faults)
    steps = [step for step in draft.steps if step.operator == operator]
    if not steps:
        steps = [StepDraft(operator, COMMAND_LINE, None)]
        draft.steps += steps
        draft.notes.append(f"{operator} is not in the recipe's process; the command line adds it as the last step")
    for step in steps:
        step.options[option] = given


def _text_of(override: _Override, *, is_flag: bool | None) -> str:
    """The override's value, or `true` for a bare flag. Raises `BadOption` where the value is missing.

    is_flag: None where only the operator knows. A bare option then counts as a flag if another option follows; at
    the end of the line a forgotten value is likelier.
    """
    if override.values and override.values[0].strip():
        return override.values[0]
    if not override.values and (is_flag or (is_flag is None and not override.is_last)):
        return "true"
    raise BadOption(
        f"--{override.name} has no value",
        allowed="a value after the option",
        try_=f"--{override.name} {'true' if is_flag is not False else 'VALUE'}",
        file=COMMAND_LINE,
    )


def _unicode(text: str) -> str:
    try:
        return joined_surrogates(text)
    except UnicodeError:
        raise BadOption(
            f"{text!r} is not text", allowed="UTF-8", try_="rename the file, if it is one", file=COMMAND_LINE
        ) from None


def _compose(text: str) -> tuple[Source, yaml.Node]:
    source = Source(COMMAND_LINE)
    node = source.compose(text)
    if node is None:  # a value that is a YAML comment, `#x`
        raise source.fault(f"{text!r} is an empty value", line=None, allowed="a value", try_="put quotes around it")
    return source, node
