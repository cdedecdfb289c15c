"""A random part: as many as asked for, always the same ones, and stable as samples arrive."""

from __future__ import annotations

import pytest

from dj_assets_tests.operators.candidates import applicant, chosen, kept

NAME = "random_selector"
SAMPLES = [applicant(number) for number in range(1, 201)]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 200),
        ({"select_ratio": 0.25}, 50),
        ({"select_ratio": 0.999}, 199),
        ({"select_num": 7}, 7),
        ({"select_num": 7, "select_ratio": 0.5}, 7),
        ({"select_num": 150, "select_ratio": 0.5}, 100),
        ({"select_num": 500}, 200),
    ],
    ids=str,
)
def test_as_many_stay_as_upstream_takes(options: dict, count: int) -> None:
    assert len(kept(NAME, SAMPLES, **options)) == count


def test_a_dataset_of_one_sample_stays() -> None:
    assert kept(NAME, SAMPLES[:1], select_ratio=0.1) == [1]


def test_the_order_of_the_samples_does_not_matter_and_the_seed_does() -> None:
    some = set(kept(NAME, SAMPLES, select_num=20))
    assert set(kept(NAME, SAMPLES[::-1], select_num=20)) == some
    assert set(kept(NAME, SAMPLES, select_num=20, seed=43)) != some


def test_a_sample_that_is_drawn_early_is_drawn_of_more_or_makes_room_and_none_comes_back() -> None:
    """Of a growing dataset those that stay of a fixed number only ever make room: no shard is rewritten in vain."""
    before: set[int] = set()
    for size in range(20, 201, 20):
        now = set(kept(NAME, SAMPLES[:size], select_num=20))
        assert now - before <= set(range(size - 19, size + 1)), "only those that have just arrived come in"
        before = now


def test_lots_are_spread_evenly() -> None:
    drawn = kept(NAME, SAMPLES, select_num=100)
    assert 35 <= sum(number <= 100 for number in drawn) <= 65


def test_the_reason_does_not_change_as_samples_arrive() -> None:
    of_half, of_all = (chosen(NAME, some, select_ratio=0.1).dropped for some in (SAMPLES[:100], SAMPLES))
    assert set(of_half.values()) == set(of_all.values()) == {"its lot is not among the lowest 10 % of the samples"}
