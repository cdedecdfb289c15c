"""Near pairs: the same as comparing each with each, whatever way is taken."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dj_assets.operators import _hamming
from dj_assets.operators._hamming import near_pairs


def made(rng: np.random.Generator, count: int, places: int, *, copies: int, flips: int) -> np.ndarray:
    """Random codes, of which some are others with some bits turned."""
    codes = rng.integers(0, 2**64, (count, places), dtype=np.uint64)
    for at in rng.integers(0, count, copies):
        turned = np.zeros(places, dtype=np.uint64)
        for _ in range(flips):
            turned ^= np.uint64(1) << rng.integers(0, 64, places).astype(np.uint64)
        codes[rng.integers(0, count)] = codes[at] ^ turned
    return codes


def by_hand(codes: np.ndarray, present: np.ndarray, max_distance: float, least: int) -> dict[tuple[int, int], float]:
    found = {}
    for first in range(len(codes)):
        for second in range(first + 1, len(codes)):
            places = [at for at in range(codes.shape[1]) if present[first, at] and present[second, at]]
            bits = sum(int(codes[first, at] ^ codes[second, at]).bit_count() for at in places)
            if len(places) >= max(1, least) and bits <= max_distance * len(places):
                found[first, second] = bits / len(places)
    return found


@pytest.mark.parametrize("flips", [None, 0, 1, 2])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 24),
    places=st.integers(1, 5),
    max_distance=st.sampled_from([0, 0.5, 3, 7.9, 8, 12, 20]),
    lost=st.sampled_from([0.0, 0.3]),
    known=st.floats(0, 1),
)
def test_every_way_finds_the_pairs_that_comparing_each_with_each_finds(
    flips: int | None, seed: int, count: int, places: int, max_distance: float, lost: float, known: float
) -> None:
    rng = np.random.default_rng(seed)
    codes = made(rng, count, places, copies=count, flips=6) if count else np.zeros((0, places), dtype=np.uint64)
    present = rng.random((count, places)) >= lost
    usual = _hamming._best_flips
    _hamming._best_flips = lambda *_: flips  # type: ignore[assignment]
    try:
        first_new = int(known * count)
        found = near_pairs(codes, present, max_distance, least_places=(places + 1) // 2, first_new=first_new)
    finally:
        _hamming._best_flips = usual
    pairs = dict(
        zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.distances.tolist(), strict=True)
    )
    expected = by_hand(codes, present, max_distance, (places + 1) // 2)
    assert pairs == {pair: bits for pair, bits in expected.items() if pair[1] >= first_new}


def test_twenty_times_as_many_rows_take_far_less_than_four_hundred_times_as_long() -> None:
    """Comparing each with each would take 36 s here, not 1 or 2."""
    codes = made(np.random.default_rng(1), 20_000, 8, copies=500, flips=4)
    present = np.ones(codes.shape, dtype=bool)
    started = time.process_time()
    found = near_pairs(codes, present, 6.0, least_places=4)
    assert len(found.first) >= 300
    assert time.process_time() - started < 12


def test_small_sets_are_compared_each_with_each() -> None:
    assert _hamming._best_flips(100, 100, 8, 8.0) is None
    assert _hamming._best_flips(1_000_000, 1_000_000, 8, 8.0) == 2
    assert _hamming._best_flips(100_000, 10, 8, 8.0) is None, "a few new ones are compared with all"
