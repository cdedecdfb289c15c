"""New values in a recipe's own text: what changes, and that nothing else does."""

from __future__ import annotations

import math
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dj_assets.errors import RecipeError
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe
from dj_assets.recipe import rewrite as module
from dj_assets.recipe.rewrite import Change, read_recipe_text, rewrite_recipe, with_options
from dj_assets.recipe.yaml_lines import Source

HEAD = "dataset_path: ds.jsonl\nprocess:\n"


def means(text: str) -> Any:
    source = Source("r.yaml")
    root = source.compose(text.removeprefix("\ufeff"))
    assert root is not None and not source.faults
    return source.value(root)


# ── Cases ───────────────────────────────────────────────────────────────────────────────────────────────────

CASES = {
    "a number": ("- op:\n    a: 1\n    b: 2\n", 7, "- op:\n    a: 7\n    b: 2\n"),
    "with a comment": ("- op:\n    a:   1.50   # why\n", 2.35, "- op:\n    a:   2.35   # why\n"),
    "in quotes": ("- op:\n    a: '1'\n", 7, "- op:\n    a: 7\n"),
    "words keep their quotes": ("- op: {a: 'any', b: 1}\n", "all", "- op: {a: 'all', b: 1}\n"),
    "words keep double quotes": ('- op:\n    "a": "any" # x\n', "all", '- op:\n    "a": "all" # x\n'),
    "bare words stay bare": ("- op:\n    a: any\n", "all", "- op:\n    a: all\n"),
    "a word that YAML takes for true": ("- op:\n    a: any\n", "on", '- op:\n    a: "on"\n'),
    "hostile text": ("- op:\n    a: any\n", 'x: "# \n\u2028😀', '- op:\n    a: "x: \\"# \\n\\L\\U0001F600"\n'),
    "null": ("- op:\n    a: 1\n", None, "- op:\n    a: null\n"),
    "no limit": ("- op:\n    a: 1\n", math.inf, "- op:\n    a: null\n"),
    "a flag": ("- op:\n    a: yes\n", False, "- op:\n    a: false\n"),
    "small": ("- op:\n    a: 1\n", 1e-05, "- op:\n    a: 1.0e-05\n"),
    "large": ("- op:\n    a: 1\n", -2.5e300, "- op:\n    a: -2.5e+300\n"),
    "an empty value": ("- op:\n    a:  # none\n    b: 2\n", 7, "- op:\n    a: 7  # none\n    b: 2\n"),
    "a value on the next line": ("- op:\n    a:\n      1\n", 7, "- op:\n    a:\n      7\n"),
    "a tag": ("- op:\n    a: !!float 1 # t\n", None, "- op:\n    a: null # t\n"),
    "an anchor that nobody uses": ("- op:\n    a: &x 1\n", 7, "- op:\n    a: &x 7\n"),
    "an anchor without a value": ("- op:\n    a: &x\n", 7, "- op:\n    a: &x 7\n"),
    "an alias": ("- op:\n    b: &x 1\n    a: *x\n", 7, "- op:\n    b: &x 1\n    a: 7\n"),
    "absent": ("- op:\n    b: 2 # two\n\n# end\n", 7, "- op:\n    b: 2 # two\n    a: 7\n\n# end\n"),
    "absent, next step": ("- op:\n      b: 2\n# c\n- other\n", 7, "- op:\n      b: 2\n      a: 7\n# c\n- other\n"),
    "absent, after a list": (
        "- op:\n    b:\n      - en  # e\n      - ch\n\n- other\n",
        7,
        "- op:\n    b:\n      - en  # e\n      - ch\n    a: 7\n\n- other\n",
    ),
    "absent, after an unindented list": ("- op:\n    b:\n    - en\n", 7, "- op:\n    b:\n    - en\n    a: 7\n"),
    "absent, after an empty value": ("- op:\n    b: # none\n", 7, "- op:\n    b: # none\n    a: 7\n"),
    "absent, after lines of text": (
        "- op:\n    b: |\n      x\n      y\n",
        7,
        "- op:\n    b: |\n      x\n      y\n    a: 7\n",
    ),
    "absent, after lines kept": (
        "- op:\n    b: |+\n      x\n\n- o\n",
        7,
        "- op:\n    b: |+\n      x\n\n    a: 7\n- o\n",
    ),
    "absent, after lines, Windows": (
        "- op:\r\n    b: |\r\n      x\r\n- o\r\n",
        7,
        "- op:\r\n    b: |\r\n      x\r\n    a: 7\r\n- o\r\n",
    ),
    "absent, after an alias": ("- op:\n    c: &x 1\n    b: *x\n", 7, "- op:\n    c: &x 1\n    b: *x\n    a: 7\n"),
    "absent, no last newline": ("- op:\n    b: 2", 7, "- op:\n    b: 2\n    a: 7"),
    "absent, Windows": ("- op:\r\n    b: 2\r\n- o\r\n", 7, "- op:\r\n    b: 2\r\n    a: 7\r\n- o\r\n"),
    "absent, Windows, no last newline": ("- op:\r\n    b: 2", 7, "- op:\r\n    b: 2\r\n    a: 7"),
    "absent, before the document's end": ("- op:\n    b: 2\n...\n", 7, "- op:\n    b: 2\n    a: 7\n...\n"),
    "no options": ("- op:\n- other:\n    b: 2\n", 7, "- op:\n    a: 7\n- other:\n    b: 2\n"),
    "no options, as the others indent": (
        "- op:\n- other:\n        b: 2\n",
        7,
        "- op:\n        a: 7\n- other:\n        b: 2\n",
    ),
    "no options, indented by two": ("  - op: # c\n", 7, "  - op: # c\n      a: 7\n"),
    "no options, only comments": ("- op:\n    # b: 2\n", 7, "- op:\n    a: 7\n    # b: 2\n"),
    "no options, no last newline": ("- op:", 7, "- op:\n    a: 7"),
    "null options": ("- op: null  # c\n", 7, "- op: {a: 7}  # c\n"),
    "tilde options": ("- op: ~\n", 7, "- op: {a: 7}\n"),
    "anchored no options": ("- op: &x\n", 7, "- op: &x {a: 7}\n"),
    "bare": ("- op # c\n- other\n", 7, "- op: # c\n    a: 7\n- other\n"),
    "bare in quotes": ("- 'op'\n", 7, "- 'op':\n    a: 7\n"),
    "bare, no last newline": ("- op", 7, "- op:\n    a: 7"),
    "braces": ("- op: {a: 1, b: 2}  # c\n", 7, "- op: {a: 7, b: 2}  # c\n"),
    "braces, absent": ("- op: {b: 2}  # c\n", 7, "- op: {b: 2, a: 7}  # c\n"),
    "braces, last comma": ("- op: {b: 2, }\n", 7, "- op: {b: 2, a: 7, }\n"),
    "braces, empty": ("- op: {}  # c\n", 7, "- op: {a: 7}  # c\n"),
    "braces, empty and wide": ("- op: { }\n", 7, "- op: {a: 7 }\n"),
    "braces, like JSON": ('- {"op":{"a":1}}\n', 7, '- {"op":{"a":7}}\n'),
    "braces, like JSON, absent": ('- {"op":{"b":1}}\n', 7, '- {"op":{"b":1, a: 7}}\n'),
    "braces, a key alone": ("- op: {a, b: 2}\n", 7, "- op: {a: 7, b: 2}\n"),
    "braces, no value": ("- op: {a: , b: 2}\n", 7, "- op: {a: 7 , b: 2}\n"),
    "braces over lines": (
        "- op: {\n    b: 2,  # two\n    c: 3  # three\n  }\n",
        7,
        "- op: {\n    b: 2,  # two\n    c: 3,  # three\n    a: 7\n  }\n",
    ),
    "braces over lines, last comma": (
        "- op: {\n    b: 2,\n    c: 3,  # three\n  }\n",
        7,
        "- op: {\n    b: 2,\n    c: 3,  # three\n    a: 7,\n  }\n",
    ),
    "braces broken anywhere": ("- op: {b: 2,\n    c: [3]}\n", 7, "- op: {b: 2,\n    c: [3], a: 7}\n"),
    "steps in brackets": ("  [op, other]\n", 7, "  [op: {a: 7}, other]\n"),
    "steps in brackets, no options": ("  [op: , other]\n", 7, "  [op: {a: 7} , other]\n"),
    "a step in braces, no value": ("- {op}\n", 7, "- {op: {a: 7}}\n"),
    "merged options": ("- x: &m {a: 1}\n- op: *m\n", 7, "- x: &m {a: 1}\n- op: {<<: *m, a: 7}\n"),
    "a merged option": ("- x: &m {a: 1}\n- op:\n    <<: *m\n", 7, "- x: &m {a: 1}\n- op:\n    <<: *m\n    a: 7\n"),
    "shared, but not this option": (
        "- op: &m\n    a: 1\n    b: 2\n- x:\n    <<: *m\n    a: 3\n",
        7,
        "- op: &m\n    a: 7\n    b: 2\n- x:\n    <<: *m\n    a: 3\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_made_in_place(case: str) -> None:
    """Option `a` of the step `op`, wherever that is in the list."""
    before, value, after = CASES[case]
    names = [next(iter(step)) if isinstance(step, dict) else step for step in means(HEAD + before)["process"]]
    number = names.index("op") + 1
    result = with_options(HEAD + before, [Change(number, "a", value)])
    assert result.text == HEAD + after
    step = means(result.text)["process"][number - 1]
    expected = None if value in (None, math.inf) else value
    assert step["op"]["a"] == expected and type(step["op"]["a"]) is type(expected)
    assert [line.split(": ")[0] for line in result.changes] == [f"process.{number}.op.a"]


@pytest.mark.parametrize(
    ("before", "step", "given", "line"),
    [
        ("- op: &m\n    a: 1\n- x: *m\n", 1, "setting a in these lines changes process.2.x.a too", 3),
        ("- op: &m\n    b: 1\n- x: {<<: *m}\n", 1, "setting a in these lines changes process.2.x.a too", 3),
        ("- op:\n    a: &v 1\n- x:\n    b: *v\n", 1, "setting a in these lines changes process.2.x.b too", 3),
        ("- &s\n  op: {a: 1}\n- *s\n", 2, "the step is not written here: *s stands in its place", 5),
        ("- op:\n    a: |\n      1\n", 1, "a is written as a block of lines", 4),
        ("- op:\n    a: [1]\n", 1, "a is written as a list or a mapping", 4),
        ("- op\n", 2, "process has 1 steps in this file, and none has number 2", None),
        ("- op\n", 0, "process has 1 steps in this file, and none has number 0", None),
        ("  {op: }\n", 1, "process has 0 steps in this file, and none has number 1", None),
        ("- op:\n    b: 1\n    b: 2\n", 1, "key 'b' is given twice, first in line 4", 5),
        ("- op: [\n", 1, "not valid YAML", 4),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(before: str, step: int, given: str, line: int | None) -> None:
    with pytest.raises(RecipeError) as caught:
        with_options(HEAD + before, [Change(step, "a", 7)], file="r.yaml")
    error = caught.value
    assert error.given.startswith(given)
    assert (error.file, error.line) == ("r.yaml", line)
    assert error.allowed and error.try_


@pytest.mark.parametrize("value", [math.nan, [1], {"x": 1}, b"x", "x" * 201, "\ud800", object()])
def test_values_that_no_option_takes_are_refused(value: Any) -> None:
    with pytest.raises(RecipeError, match="option a"):
        with_options(HEAD + "- op:\n    a: 1\n", [Change(1, "a", value)])


def test_two_values_for_one_option_are_refused() -> None:
    with pytest.raises(RecipeError, match="two values"):
        with_options(HEAD + "- op\n", [Change(1, "a", 1), Change(1, "a", 2)])


@pytest.mark.parametrize(("written", "value"), [("2", 2.0), ("2.50", 2.5), ("1e-3", 0.001), ("~", None), ("'x'", "x")])
def test_a_value_that_is_there_already_stays_as_it_is_spelled(written: str, value: Any) -> None:
    text = f"{HEAD}- op:\n    a: {written}\n"
    assert with_options(text, [Change(1, "a", value)]) == module.Rewritten(text, ())


@pytest.mark.parametrize(("written", "value"), [("1", True), ("true", 1), ("'2'", 2), ("null", False), ("0", False)])
def test_equal_in_python_is_not_the_same_in_a_recipe(written: str, value: Any) -> None:
    found = with_options(f"{HEAD}- op:\n    a: {written}\n", [Change(1, "a", value)])
    assert means(found.text)["process"][0]["op"]["a"] is value or isinstance(value, int)
    assert len(found.changes) == 1


def test_changes_are_told_in_words() -> None:
    text = HEAD + "- op:\n    a: 2.0\n    c: any\n- op\n"
    changes = [Change(1, "a", 2.35), Change(1, "b", 3, default="0.25"), Change(1, "c", "all"), Change(2, "a", None)]
    result = with_options(text, changes)
    assert result.changes == (
        "process.1.op.a: 2.0 → 2.35",
        "process.1.op.b: (not set, default 0.25) → 3",
        'process.1.op.c: "any" → "all"',
        "process.2.op.a: (not set) → null",
    )
    assert result.text == HEAD + "- op:\n    a: 2.35\n    c: all\n    b: 3\n- op:\n    a: null\n"


def test_a_byte_order_mark_stays() -> None:
    text = "\ufeff" + HEAD + "- op:\n    b: 1\n"
    assert with_options(text, [Change(1, "a", 7)]).text == text + "    a: 7\n"


def test_a_recipe_of_the_project_gets_a_bound_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "spacetime.yaml"
    original = Path(__file__).resolve().parents[2] / "recipes" / "video_spacetime.yaml"
    path.write_bytes(original.read_bytes())
    changes = [Change(2, "min_score", 2.35), Change(2, "max_score", 1e-05 + 7), Change(3, "any_or_all", "all")]
    found = read_recipe_text(path)
    result = rewrite_recipe(path, changes, expected_sha256=found.sha256)
    recipe = load_recipe(path)
    assert recipe.steps[1].options == {"min_score": 2.35, "max_score": 1e-05 + 7}
    assert recipe.steps[2].options == {"max_area_ratio": 0.2, "frame_sample_num": 3, "any_or_all": "all"}
    assert make_plan(recipe).steps[1].ranges[0].low == 2.35
    kept = [line for line in found.text.splitlines() if "min_score" not in line]
    assert [line for line in result.text.splitlines() if line in kept] == kept


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfdataset_path: ds.jsonl\r\nprocess:\r\n  - op:\r\n      a: 1  # caf\xc3\xa9")
    return path


def test_a_file_keeps_its_bytes_and_its_mode(recipe: Path) -> None:
    recipe.chmod(0o640)
    before = recipe.read_bytes()
    rewrite_recipe(recipe, [Change(1, "a", 2.5)], expected_sha256=read_recipe_text(recipe).sha256)
    assert recipe.read_bytes() == before.replace(b"a: 1", b"a: 2.5")
    assert stat.S_IMODE(recipe.stat().st_mode) == 0o640
    assert list(recipe.parent.iterdir()) == [recipe]


def test_a_symlink_is_followed(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "link.yaml"
    link.symlink_to(Path("..") / "r.yaml")
    rewrite_recipe(link, [Change(1, "a", 2)], expected_sha256=read_recipe_text(link).sha256)
    assert link.is_symlink() and b"a: 2" in recipe.read_bytes()
    assert list(link.parent.iterdir()) == [link]


def test_an_edit_made_meanwhile_is_not_lost(recipe: Path) -> None:
    known = read_recipe_text(recipe).sha256
    recipe.write_text("mine")
    with pytest.raises(RecipeError, match="changed on the disk") as caught:
        rewrite_recipe(recipe, [Change(1, "a", 2)], expected_sha256=known)
    assert caught.value.allowed and caught.value.try_ and caught.value.file == str(recipe)
    assert recipe.read_text() == "mine"


def test_an_edit_made_while_the_new_file_is_written_is_not_lost(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = read_recipe_text(recipe).sha256
    monkeypatch.setattr(os, "fsync", lambda descriptor: recipe.write_text("mine"))
    with pytest.raises(RecipeError, match="changed on the disk"):
        rewrite_recipe(recipe, [Change(1, "a", 2)], expected_sha256=known)
    assert recipe.read_text() == "mine"
    assert list(recipe.parent.iterdir()) == [recipe]


def test_a_file_without_a_change_is_not_touched(recipe: Path) -> None:
    inode = recipe.stat().st_ino
    assert rewrite_recipe(recipe, [Change(1, "a", 1)], expected_sha256=read_recipe_text(recipe).sha256).changes == ()
    assert recipe.stat().st_ino == inode


def test_a_write_protected_file_stays(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename would not ask the file for its rights. (Root may write anything, so the answer is made up here.)"""
    known = read_recipe_text(recipe).sha256
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RecipeError, match="cannot be written: it is write-protected"):
        rewrite_recipe(recipe, [Change(1, "a", 2)], expected_sha256=known)
    assert b"a: 1" in recipe.read_bytes()


@pytest.mark.parametrize(("content", "given"), [(b"a\nb\xff", "is not UTF-8 text"), (None, "cannot be read")])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None, given: str) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=given):
        read_recipe_text(path)


# ── Layouts ─────────────────────────────────────────────────────────────────────────────────────────────────

SPELLED = [
    ("1", 1),
    ("2.50", 2.5),
    ("1e-3", 0.001),
    ("'any'", "any"),
    ('"x # y"', "x # y"),
    ("word", "word"),
    ("~", None),
]
SPELLED += [("yes", True), ("0x1F", 31), ("-7", -7), ("1_000", 1000), ("16:9", "16:9"), ("", None)]
OPTIONS = ("min_score", "max_score", "any_or_all", "'quoted'", '"on"')
COMMENTS = ("", "  # note", " #: {a: 1}")

numbers = st.floats(allow_nan=False) | st.integers(-(10**20), 10**20)
texts = st.text(max_size=20) | st.sampled_from(
    ["all", "any", "on", "null", "1e5", "1:30", "'", '"', "#", "- x", "*x", "~"]
)
values = numbers | st.booleans() | st.none() | texts


@st.composite
def steps(draw: st.DrawFn) -> str:
    """Lines of one step, in any style."""
    pairs = draw(st.dictionaries(st.sampled_from(OPTIONS), st.sampled_from(SPELLED), max_size=3))
    dash = "  - " if draw(st.booleans()) else "  -   "
    comment = st.sampled_from(COMMENTS)
    style = draw(st.sampled_from(["block", "braces", "wide braces", "anchored"]))
    if not pairs:
        bare = draw(
            st.sampled_from(["op", "op:", "op: {}", "op: null", "'op'", "op: {  }", "{op: }", "{op}", "{op: {}}"])
        )
        return f"{dash}{bare}{draw(comment)}\n"
    if style == "braces":
        comma = draw(st.sampled_from(["", ",", " , "]))
        return (
            f"{dash}op: {{{', '.join(f'{key}: {text}' for key, (text, _) in pairs.items())}{comma}}}{draw(comment)}\n"
        )
    deeper = " " * (len(dash) + draw(st.integers(1, 5)))
    if style == "wide braces":
        inner = ",\n".join(f"{deeper}{key}: {text}" for key, (text, _) in pairs.items())
        return f"{dash}op: {{{draw(comment)}\n{inner}{draw(comment)}\n{deeper}}}\n"
    anchor = " &anchor" if style == "anchored" else ""
    body = "".join(
        f"{deeper}{key}: {text}{draw(comment)}\n{draw(st.sampled_from(['', chr(10), deeper + '# between' + chr(10)]))}"
        for key, (text, _) in pairs.items()
    )
    return f"{dash}op:{anchor}{draw(comment)}\n{body}"


@st.composite
def recipes(draw: st.DrawFn) -> str:
    listed = draw(st.lists(steps(), min_size=1, max_size=3))
    text = "# top\ndataset_path: ds.jsonl\n\nprocess:  # steps\n"
    text += "".join(lines.replace("&anchor", f"&anchor{number}") for number, lines in enumerate(listed))
    text += draw(st.sampled_from(["", "np: 2 # after\n", "\n# end\n", "dj_assets: {shard_size: 3}\n"]))
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n", "\r"])))
    return draw(st.sampled_from(["", "\ufeff"])) + text


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(character in rest for character in part)


def num_in_common(one: str, other: str) -> int:
    """Characters with which both begin."""
    return next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1), min(len(one), len(other))
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(data=st.data(), text=recipes(), value=values)
def test_any_layout_keeps_all_but_the_value(data: st.DataObject, text: str, value: Any) -> None:
    before = means(text)
    number = data.draw(st.integers(1, len(before["process"])))
    option = data.draw(st.sampled_from([name.strip("'\"") for name in OPTIONS]))
    result = with_options(text, [Change(number, option, value)])

    step = before["process"][number - 1]
    options = (step["op"] if isinstance(step, dict) else None) or {}
    meant = None if isinstance(value, float) and math.isinf(value) else value
    wanted = before | {"process": [*before["process"]]}
    wanted["process"][number - 1] = {"op": {**options, option: meant}}
    if not result.changes:
        assert result.text == text and options[option] == meant
        return
    assert means(result.text) == wanted
    assert type(means(result.text)["process"][number - 1]["op"][option]) is type(meant)
    if option not in options:
        left = re.sub(r"op: null", "op: ", text)  # the one thing that gives way to the first option
        assert is_subsequence(left, result.text), "only insertions"
    else:
        begin = num_in_common(text, result.text)
        end = num_in_common(text[begin:][::-1], result.text[begin:][::-1])
        replaced = text[begin : len(text) - end]
        assert len(replaced) <= 10 and "\n" not in replaced and "  #" not in replaced, "one scalar"
    again = with_options(result.text, [Change(number, option, value)])
    assert (again.text, again.changes) == (result.text, ()), "what was written reads back as the same value"


@settings(deadline=None)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_very_same_float_here_and_in_yaml_1_1(value: float) -> None:
    text = with_options(HEAD + "- op:\n    a: x\n", [Change(1, "a", value)]).text
    for found in (means(text), yaml.safe_load(text)):
        number = found["process"][0]["op"]["a"]
        assert type(number) is float and math.copysign(1, number) == math.copysign(1, value) and number == value
