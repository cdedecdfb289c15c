"""Pairs of near codes among many, without comparing each with each: multi-index hashing (Norouzi, Punjani and Fleet,
"Fast search in Hamming space with multi-index hashing", 2012), exact for the distance asked for.

A row is a video: one code of 64 bits per place, of which some may be missing. Two rows are so many bits apart as the
mean over the places that both have.

    mean over places <= d   so at some place         <= d bits apart
    64 bits in m pieces     so in some piece of it   <= d / m bits apart   which a table of that piece finds
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BITS = 64
MOST_FLIPS = 2
BLOCK_PAIRS = 4_000_000
"""Pairs that are looked at together: some 100 MB."""

SORT_COST, JOIN_COST, PAIR_COST, CALL_COST = 100, 50, 15, 40_000
"""Nanoseconds to sort a row into a table, to look one up in it, to compare one pair at one place, and to begin; on one
core."""

Codes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


class Pairs(NamedTuple):
    """Near pairs: int64 [K], first < second; float64 [K], bits apart. By first, then second."""

    first: Rows
    second: Rows
    distances: npt.NDArray[np.float64]


def near_pairs(codes: Codes, present: Flags, max_distance: float, *, least_places: int, first_new: int = 0) -> Pairs:
    """Every pair of rows that is at most `max_distance` bits apart, over `least_places` common places or more.

    codes: uint64 [N, places]. present: bool [N, places]. max_distance: 0 to 64. first_new: pairs of two rows before it
    are known already, and left out.
    """
    suspects = _suspects(codes, present, max_distance, first_new)
    found = [_near(codes, present, pairs, max_distance, least_places) for pairs in suspects]
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, np.zeros(0))
    first, second, distances = (np.concatenate(one) for one in zip(*found, strict=True))
    _, once = np.unique(first * len(codes) + second, return_index=True)
    return Pairs(first[once], second[once], distances[once])


def _near(codes: Codes, present: Flags, pairs: Rows, max_distance: float, least_places: int) -> Pairs:
    """Of these pairs, int64 [2, K], those that are near."""
    first, second = pairs
    both = present[first] & present[second]
    bits = np.where(both, np.bitwise_count(codes[first] ^ codes[second]), 0).sum(axis=1, dtype=np.int64)
    places = both.sum(axis=1)
    near = (places >= max(1, least_places)) & (bits <= max_distance * places)
    return Pairs(first[near], second[near], bits[near] / places[near])


def _suspects(codes: Codes, present: Flags, max_distance: float, first_new: int) -> Iterator[Rows]:
    """Pairs that may be near, int64 [2, K], first < second, second new, in blocks; a near one is in one or several."""
    count, places = codes.shape
    flips = _best_flips(count, count - first_new, places, max_distance)
    if flips is None:
        yield from _every_pair(count, first_new)
        return
    pieces = int(max_distance) // (flips + 1) + 1
    edges = np.linspace(0, BITS, pieces + 1).astype(int)
    for place in range(places):
        rows = np.flatnonzero(present[:, place])
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            mask = np.uint64((1 << (end - begin)) - 1)
            values = (codes[rows, place] >> np.uint64(begin)) & mask
            yield from _equal_but_for(rows, values, bits=end - begin, flips=flips, first_new=first_new)


def _best_flips(count: int, new: int, places: int, max_distance: float) -> int | None:
    """How many bits of a piece may differ, so that the whole takes least time; None: compare each with each."""
    costs: dict[int | None, float] = {None: new * count * places * PAIR_COST}
    for flips in range(MOST_FLIPS + 1):
        pieces = int(max_distance) // (flips + 1) + 1
        tables, size = places * pieces, 2 ** (BITS // pieces)
        probes = sum(_choose(BITS // pieces, number) for number in range(flips + 1))
        one_probe = CALL_COST + new * (JOIN_COST + count / size * places * PAIR_COST)
        costs[flips] = tables * (count * SORT_COST + probes * one_probe)
    return min(costs, key=costs.__getitem__)


def _choose(total: int, number: int) -> int:
    return (1, total, total * (total - 1) // 2)[number]


def _every_pair(count: int, first_new: int) -> Iterator[Rows]:
    rows = max(1, BLOCK_PAIRS // max(1, count))
    for begin in range(first_new, count, rows):
        second, first = np.meshgrid(np.arange(begin, min(begin + rows, count)), np.arange(count), indexing="ij")
        yield np.stack([first[first < second], second[first < second]])


def _equal_but_for(rows: Rows, values: Codes, *, bits: int, flips: int, first_new: int) -> Iterator[Rows]:
    """Pairs of rows whose values, of so many bits, differ in `flips` bits or fewer."""
    order = np.argsort(values, kind="stable")
    table, rows = values[order], rows[order]
    asked = rows >= first_new
    asking, wanted = rows[asked], table[asked]
    for number in range(flips + 1):
        for chosen in combinations(range(bits), number):
            flipped = wanted ^ np.uint64(sum(1 << bit for bit in chosen))
            begins, ends = np.searchsorted(table, flipped, "left"), np.searchsorted(table, flipped, "right")
            yield from _joined(asking, rows, begins, ends)


def _joined(asking: Rows, rows: Rows, begins: Rows, ends: Rows) -> Iterator[Rows]:
    """Each row that asks with those rows from its begin to its end that come before it."""
    counts = ends - begins
    totals = np.cumsum(counts)
    start = 0
    while start < len(asking):
        done = totals[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(totals, done + BLOCK_PAIRS, "right")))
        some = counts[start:stop]
        second = np.repeat(asking[start:stop], some)
        within = np.arange(len(second)) - np.repeat(np.cumsum(some) - some, some)
        first = rows[np.repeat(begins[start:stop], some) + within]
        keep = first < second
        if keep.any():
            yield np.stack([first[keep], second[keep]])
        start = stop
