"""The unit of work that costs go by is found, not assumed; without one, nothing is made up."""

from __future__ import annotations

import pytest

from dj_assets.cli.expectation import PREFERRED, Expectation, amounts_of, picture_of

PICTURES = [(megapixels, seconds) for megapixels in (0.2, 0.9, 2.0) for seconds in (2.0, 10.0, 60.0)]


@pytest.mark.parametrize(
    ("cost", "unit", "expected"),
    [
        pytest.param(lambda mp, s: 0.1 * mp * s, "megapixel-seconds", 12.0, id="all pixels of a video"),
        pytest.param(lambda mp, s: 2.0 * mp, "megapixels", 8.0, id="a few frames, at their size"),
        pytest.param(lambda mp, s: 0.05 * s, "seconds", 1.5, id="frames scaled to one size"),
        pytest.param(lambda mp, s: 0.3, "videos", 0.3, id="the header alone"),
    ],
)
def test_costs_go_by_the_unit_that_fits(cost, unit: str, expected: float) -> None:
    learned = Expectation([(cost(*picture), amounts_of(None, picture)) for picture in PICTURES])
    assert learned.units[0] == unit
    assert learned.seconds(amounts_of(5_000_000, (4.0, 30.0))) == pytest.approx(expected)


def test_few_videos_are_taken_to_cost_by_their_pixels_whatever_fits_them_by_chance() -> None:
    two = [(1.0, amounts_of(100, (1.0, 10.0))), (1.0, amounts_of(300, (2.0, 10.0)))]
    assert Expectation(two).units == list(PREFERRED)
    assert Expectation(two).seconds(amounts_of(None, (3.0, 10.0))) == pytest.approx(2.0)


def test_a_unit_known_of_few_videos_goes_after_those_known_of_many() -> None:
    """One small file that was dear by its bytes says less than a hundred videos that cost roughly by their pixels."""
    many = [(1.0 + number % 3, amounts_of(None, (1.0, 10.0 + number % 5))) for number in range(100)]
    learned = Expectation([*many, (5.0, amounts_of(1000, None))])
    assert learned.units[-1] == "bytes"
    assert learned.seconds(amounts_of(1_000_000, (1.0, 10.0))) == pytest.approx(2.0, rel=0.3)


def test_a_video_that_nobody_opened_goes_by_its_bytes_and_else_by_the_mean() -> None:
    seen = [(2.0, amounts_of(100, (1.0, 10.0))), (4.0, amounts_of(200, (2.0, 10.0)))]
    assert Expectation(seen).seconds(amounts_of(300, None)) == pytest.approx(6.0)
    without_bytes = [(seconds, amounts_of(None, (1.0, 10.0))) for seconds in (2.0, 4.0)]
    assert Expectation(without_bytes).seconds(amounts_of(300, None)) == pytest.approx(3.0)


def test_nothing_learned_is_nothing_told() -> None:
    assert Expectation([]).seconds(amounts_of(100, None)) is None
    assert Expectation([]).total_seconds([amounts_of(100, None)]) is None
    assert Expectation([]).total_seconds([]) == 0.0


def test_a_probe_without_size_or_duration_says_nothing() -> None:
    assert amounts_of(None, picture_of({"width": None, "height": None, "duration_seconds": None})) == {"videos": 1.0}
