"""A recipe of Data-Juicer's that names what does not run here is told so, not that the name is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dj_assets import operators
from dj_assets.errors import RecipeErrors, UnknownOperator, UnsupportedOperator
from dj_assets.operators import _upstream
from dj_assets.plan import make_plan
from dj_assets.recipe import load_recipe

REFUSED = [name for name in [*_upstream.KNOWN, *_upstream.others()] if name not in operators.names()]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_operator_is_named_with_its_reason_and_a_way_out(name: str) -> None:
    with pytest.raises(UnsupportedOperator) as caught:
        operators.get(name)
    error = caught.value
    known = _upstream.find(name)
    assert known is not None
    assert name in error.given and known.does in error.given
    assert (known.reason or _upstream.NOT_BUILT) in error.given
    assert error.allowed and error.try_
    assert not isinstance(error, UnknownOperator)


def test_a_name_that_nobody_has_is_unknown() -> None:
    with pytest.raises(UnknownOperator):
        operators.get("video_dept_estimation_mapper")


def test_check_tells_the_line_of_each(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "dataset_path: ds.jsonl\n"
        "process:\n"
        "  - video_duration_filter:\n"
        "  - video_depth_estimation_mapper:\n"
        "      max_res: 1280\n"
        "  - clean_links_mapper:\n"
    )
    with pytest.raises(RecipeErrors) as caught:
        make_plan(load_recipe(str(path)))
    found = [(type(error), error.line, error.step) for error in caught.value.errors]
    assert found == [(UnsupportedOperator, 4, "2"), (UnsupportedOperator, 6, "3")]
    assert "Data-Juicer's (depth and point clouds) that is refused here" in str(caught.value)


def test_a_package_that_brings_a_refused_operator_is_used(operator_package: Path) -> None:
    name = "video_tagging_from_audio_mapper"
    (operator_package / f"{name}.py").write_text(
        f"from types import SimpleNamespace\nOPERATOR = SimpleNamespace(name={name!r})\n"
    )
    operators.locations.cache_clear()
    assert operators.get(name).name == name
