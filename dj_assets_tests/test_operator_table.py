"""The table of operators: what docs/operators.md says is what the registry and the catalogue of upstream's say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dj_assets import operator_table, operators
from dj_assets.operators import _upstream
from dj_assets_tests.upstream import facts

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
BUILT = set(operators.names())


def test_the_committed_table_is_the_generated_one() -> None:
    committed = PAGE.read_text(encoding="utf-8")
    generated = operator_table.put_into(committed, operator_table.markdown())
    assert committed == generated, "run `dj-assets operators --into docs/operators.md` and commit what it writes"


def test_every_operator_of_upstream_is_known_by_name_and_kind() -> None:
    by_kind = yaml.safe_load(facts.NAMES.read_text(encoding="utf-8"))
    theirs = {name for names in by_kind.values() for name in names}
    assert len(theirs) == 224
    assert {*_upstream.KNOWN, *_upstream.others()} == theirs
    assert not {*_upstream.KNOWN} & {*_upstream.others()}
    for kind, names in by_kind.items():
        assert {_upstream.kind(name) for name in names} == {kind}


def test_every_video_operator_of_upstream_has_a_line_of_its_own() -> None:
    by_kind = yaml.safe_load(facts.NAMES.read_text(encoding="utf-8"))
    on_videos = {name for names in by_kind.values() for name in names if "video" in name}
    assert on_videos <= {line.name for line in operator_table.upstream_lines()}
    assert len(on_videos) == 54


@pytest.mark.parametrize("name", [name for name, known in _upstream.KNOWN.items() if known.reason])
def test_what_is_refused_has_a_reason_and_a_way_out_and_is_not_built(name: str) -> None:
    known = _upstream.KNOWN[name]
    assert known.instead
    assert name not in BUILT, "it is built: take its reason out of the catalogue"


def test_every_operator_named_as_a_way_out_can_be_used() -> None:
    words = " ".join(f"{known.reason} {known.instead}" for known in [*_upstream.KNOWN.values(), *_upstream.OTHERS])
    named = set(re.findall(r"\w+_(?:filter|mapper|deduplicator|selector)\b", words))
    assert "video_captioning_from_vlm_mapper" in named
    refused = {name for name, known in _upstream.KNOWN.items() if known.reason} | {*_upstream.others()} - BUILT
    assert not named & refused
    if missing := named - BUILT:
        pytest.skip(f"not built yet: {', '.join(sorted(missing))}")


def test_no_option_of_upstreams_is_forgotten() -> None:
    lines = operator_table.upstream_lines()
    assert [line.name for line in lines if "not taken" in line.differs] == []


@pytest.mark.parametrize("name", sorted(BUILT & {*_upstream.KNOWN}))
def test_weights_are_named_of_those_that_may_download_some(name: str) -> None:
    options = operators.get(name).option_names
    assert ("allow_download" in options) == bool(_upstream.KNOWN[name].weights)


def test_a_line_says_how_options_differ() -> None:
    [line] = [line for line in operator_table.upstream_lines() if line.name == "video_motion_score_filter"]
    assert line.kind == "filter" and line.here == "offline" and not line.is_refused
    assert "ours: `data_juicer_resize`" in line.differs
    assert "without effect: `original_fps`" in line.differs
    assert "refused unless at upstream's default: `frame_field`" in line.differs
    assert "min_score" not in line.differs, "0.25 in both"


def test_a_default_that_is_not_upstreams_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {**_upstream.options()}
    theirs["video_duration_filter"] = {"min_duration": 3, "max_duration": 2**63 - 1, "speed": 1}
    monkeypatch.setattr(_upstream, "options", lambda: theirs)
    [line] = [line for line in operator_table.upstream_lines() if line.name == "video_duration_filter"]
    assert line.differs == "`min_duration` is `0.0` by default, upstream `3`; not taken: `speed`"


def test_an_operator_that_lands_leaves_the_refused(operator_package: Path) -> None:
    name = "clean_links_mapper"
    before = dict(operator_table.refused_groups())
    assert any(name in names for names in before.values())
    (operator_package / f"{name}.py").write_text("OPERATOR = None\n")
    operators.locations.cache_clear()
    assert not any(name in names for _, names in operator_table.refused_groups())
    assert name not in operator_table.markdown().partition("## Ours")[0], "of another package: not in our documents"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("nothing", id="no markers"),
        pytest.param(f"{operator_table.BEGIN}\n", id="no end"),
        pytest.param(f"{operator_table.END}\n{operator_table.BEGIN}\n", id="the wrong way round"),
        pytest.param(f"{operator_table.BEGIN}\n{operator_table.END}\n" * 2, id="twice"),
    ],
)
def test_a_page_without_a_place_for_the_table_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="expected one line"):
        operator_table.put_into(page, "table\n")


def test_what_is_around_the_markers_stays() -> None:
    page = f"before\n{operator_table.BEGIN}\nold\n{operator_table.END}\nafter\n"
    once = operator_table.put_into(page, "new\n")
    assert once.startswith("before\n") and once.endswith("\nafter\n")
    assert "new" in once and "old" not in once
    assert operator_table.put_into(once, "new\n") == once
