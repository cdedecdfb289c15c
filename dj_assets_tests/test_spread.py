"""Histograms in SVG, read by their shapes: bars count every value, bounds lie on the axis, nothing odd breaks them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from dj_assets.ranges import StatRange
from dj_assets.spread import BARS, BOTTOM, LEFT, PASSES, RIGHT, TOP, histogram_svg
from dj_assets_tests.test_plots import ANY_VALUES

INF = float("inf")
MOST_BYTES = 8_000
SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    def __init__(
        self, values: Sequence[float], *ranges: StatRange, missing: int = 0, unit: str = "px per frame"
    ) -> None:
        self.text = histogram_svg(values, stat="a_stat", unit=unit, ranges=ranges, num_missing=missing)
        self.root = ElementTree.fromstring(self.text)

    def boxes(self, colour: str) -> list[tuple[float, float, float, float]]:
        """(left, top, width, height) of each."""
        found = [box for box in self.root.iter(f"{SVG}rect") if box.get("fill") == colour]
        return [tuple(float(box.get(name, "")) for name in ("x", "y", "width", "height")) for box in found]  # type: ignore[misc]

    def bounds(self) -> list[float]:
        dashed = [line for line in self.root.iter(f"{SVG}path") if line.get("stroke-dasharray")]
        return [float(re.match(r"M([\d.]+) ", line.get("d", ""))[1]) for line in dashed]  # type: ignore[index]

    def words(self) -> list[str]:
        return [text.text or "" for text in self.root.iter(f"{SVG}text")]


@pytest.mark.parametrize(("values", "range_"), ANY_VALUES)
@pytest.mark.filterwarnings("error")
def test_any_values_make_a_small_picture_with_all_of_it_inside(values: list[float], range_: StatRange) -> None:
    picture = Picture(values, range_, missing=2)
    assert len(picture.text) <= MOST_BYTES
    for left, top, width, height in [*picture.boxes(BARS), *picture.boxes(PASSES)]:
        assert left >= LEFT - 0.1 and left + width <= RIGHT + 0.1 and width > 0
        assert top >= TOP - 0.1 and top + height <= BOTTOM + 0.1
    across = [float(x) for x in re.findall(rf'd="M([^ "]+) {BOTTOM}v4"', picture.text)]
    assert len(set(across)) >= 3 and all(LEFT <= x <= RIGHT for x in across)
    finite = sum(abs(value) < 1e100 for value in values)
    assert f"a_stat: n = {finite}, {len(values) - finite + 2} without a value" in picture.words()


def test_bars_are_as_high_as_they_count() -> None:
    """Ten values: three of them 1, seven 5."""
    heights = [height for _, _, _, height in Picture([1.0] * 3 + [5.0] * 7, StatRange("s", -INF, INF)).boxes(BARS)]
    assert len(heights) == 2 and heights[0] / heights[1] == pytest.approx(3 / 7, abs=0.01)


def test_bounds_are_lines_and_what_passes_between_them_is_shaded() -> None:
    """0 to 10 with a margin of 4 %: bounds 4 and 6 lie at 44/108 and 64/108 of the axis."""
    picture = Picture(np.linspace(0, 10, 101).tolist(), StatRange("s", 4, 6))
    width = RIGHT - LEFT
    assert picture.bounds() == pytest.approx([LEFT + width * 44 / 108, LEFT + width * 64 / 108], abs=0.1)
    [(left, _, shaded, _)] = picture.boxes(PASSES)
    assert [left, left + shaded] == pytest.approx(picture.bounds(), abs=0.2)


def test_reversed_bounds_shade_what_lies_outside() -> None:
    picture = Picture(np.linspace(0, 10, 101).tolist(), StatRange("s", 4, 6, is_reversed=True))
    first, last = picture.boxes(PASSES)
    assert first[0] + first[2] == pytest.approx(picture.bounds()[0], abs=0.2)
    assert last[0] == pytest.approx(picture.bounds()[1], abs=0.2)


def test_ticks_are_round_and_a_tail_is_named() -> None:
    words = Picture([*np.linspace(0, 5, 300), 9e6], StatRange("s", 2, INF)).words()
    assert {"0", "1", "2", "3", "4", "5"} <= set(words)
    assert "1 beyond, up to 9e+06" in words


def test_no_value_says_so() -> None:
    assert "no values" in Picture([], StatRange("s", 2, INF)).words()


def test_a_unit_of_another_operator_cannot_break_out() -> None:
    """Units come from operators that anybody may install."""
    unit = 'px</text><script>alert("x")</script>\x00\ud800'
    picture = Picture([1.0, 2.0], StatRange("s", 1, INF), unit=unit)
    assert not list(picture.root.iter(f"{SVG}script"))
    assert any("<script>" in text for text in picture.words())
    picture.text.encode()


def test_it_counts_what_the_values_are_of() -> None:
    about = {"stat": "num_words", "unit": "words", "ranges": [], "num_missing": 0}
    assert ">samples</text>" in histogram_svg([1.0, 2.0], **about, counted="samples")
    assert ">videos</text>" in histogram_svg([1.0, 2.0], **about)


def test_it_needs_no_matplotlib() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from dj_assets.spread import histogram_svg;"
        "histogram_svg([1.0, 2.0], stat='s', unit='u', ranges=[], num_missing=0);"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
