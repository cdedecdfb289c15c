"""The least that has to be decoded: by numbers alone."""

from __future__ import annotations

import numpy as np
import pytest

from dj_assets.video.decode_plan import PacketTable, plan_packets


def table(frames: list[int], keys: list[int]) -> PacketTable:
    """frames: the picture of each packet, by display order. keys: positions of key packets."""
    are_keys = np.isin(np.arange(len(frames)), keys)
    return PacketTable(np.array(frames, dtype=np.int64), are_keys, np.full(len(frames), 100, dtype=np.int64))


SIMPLE = table(list(range(30)), [0, 10, 20])
"""No picture is shown out of order."""

CLOSED = table([0, 3, 1, 2, 4, 7, 5, 6], [0, 4])
"""Two groups: I0 P3 b1 b2 | I4 P7 b5 b6."""

OPEN = table([0, 3, 1, 2, 6, 4, 5, 9, 7, 8], [0, 4])
"""The second key packet, I6, is followed by b4 and b5, which are shown before it and need P3, too."""


@pytest.mark.parametrize(
    ("packets", "wanted", "stretches"),
    [
        (SIMPLE, [0], [[0, 0]]),
        (SIMPLE, [9], [[0, 9]]),
        (SIMPLE, [10], [[10, 10]]),
        (SIMPLE, [3, 12, 29], [[0, 3], [10, 12], [20, 29]]),
        (SIMPLE, [9, 12], [[0, 12]]),
        (CLOSED, [2], [[0, 3]]),
        (CLOSED, [3], [[0, 1]]),
        (CLOSED, [4, 5], [[4, 6]]),
        (CLOSED, [1, 5], [[0, 2], [4, 6]]),
        (OPEN, [4], [[0, 5]]),
        (OPEN, [6], [[4, 4]]),
        (OPEN, [7], [[4, 8]]),
        (OPEN, [3, 7], [[0, 1], [4, 8]]),
        (OPEN, [5, 8], [[0, 9]]),
        (table([0, 1, 2, 3], []), [1], [[0, 3]]),
    ],
)
def test_stretches_go_from_the_governing_key_packet_to_what_is_wanted(
    packets: PacketTable, wanted: list[int], stretches: list[list[int]]
) -> None:
    plan = plan_packets(packets, np.array(wanted))
    assert plan.stretches.tolist() == stretches
    assert packets.frames[plan.wanted].tolist() == [frame for frame in packets.frames if frame in wanted]
    assert plan.num_in_stretches == sum(last - first + 1 for first, last in stretches)


def test_linear_is_one_stretch() -> None:
    assert plan_packets(SIMPLE, np.array([25]), linear=True).stretches.tolist() == [[0, 29]]


def test_nothing_wanted_of_nothing() -> None:
    assert plan_packets(table([], []), np.array([], dtype=np.int64)).stretches.tolist() == []


def test_packets_that_show_nothing_are_sent_but_never_wanted_nor_begun_with() -> None:
    """An edit list hides the first two pictures: the third needs them, and the first key packet is before them."""
    hidden = PacketTable(np.array([-1, -1, 0, 1, 2]), np.array([True, False, False, True, False]), np.full(5, 9))
    assert plan_packets(hidden, np.array([0])).stretches.tolist() == [[0, 2]]
    assert plan_packets(hidden, np.array([2])).stretches.tolist() == [[3, 4]]


@pytest.mark.parametrize("seed", range(20))
def test_random_streams_send_every_wanted_packet_and_what_it_needs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [int(rng.integers(1, 9)) for _ in range(6)]
    frames, keys, start = [], [], 0
    for size in groups:
        keys.append(len(frames))
        frames += [start, *(start + 1 + rng.permutation(size - 1)).tolist()] if size > 1 else [start]
        start += size
    packets = table(frames, keys)
    wanted = np.unique(rng.integers(0, start, size=int(rng.integers(1, 7))))
    plan = plan_packets(packets, wanted)
    sent = {p for first, last in plan.stretches.tolist() for p in range(first, last + 1)}
    for frame in wanted.tolist():
        position = frames.index(frame)
        key = max(key for key in keys if key <= position)
        assert set(range(key, position + 1)) <= sent
    assert len(sent) <= len(frames) and all(first in keys for first, _ in plan.stretches.tolist())
