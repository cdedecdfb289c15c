"""When a file has sound: its audio packets as stretches of time. Nothing is decoded, so silence is sound as well."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

JOINED_SECONDS = 0.1
"""A gap up to so long between two packets is none: times are rounded, and some packets do not say how long they are."""

MOST_FRAMES = 2
"""A packet lasts as long as so many of its codec's frames at most, two of HE-AAC: MP4 stretches the last one before a
pause over all of it."""

Stretch = tuple[float, float]
"""From when to when, in seconds of the container's clock."""


@dataclass
class _Stream:
    """What is known of an audio stream. Its numbers are floats, since fractions take long."""

    time_base: float
    longest_seconds: float
    stretches: list[Stretch] = field(default_factory=list)


class AudioTimes:
    """Collects a file's audio packets, stream by stream."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    def add(self, packet: Any) -> None:
        """Take a packet that holds something. One that the container says not to play does not count.

        A packet without a time goes on where the one before it in its stream ended; the first one needs a time.
        """
        if packet.is_discard:
            return
        stream = self._streams.get(packet.stream_index)
        if stream is None:
            stream = self._streams[packet.stream_index] = _Stream(*_scale_of(packet))
        tick = packet.pts if packet.pts is not None else packet.dts
        if tick is not None:
            start = tick * stream.time_base
        elif stream.stretches:
            start = stream.stretches[-1][1]
        else:
            return
        length = min((packet.duration or 0) * stream.time_base, stream.longest_seconds)
        append_joined(stream.stretches, (start, start + length))

    def seconds_within(self, start: float, end: float) -> float:
        """Seconds between start and end in which there are packets, of the stream that has most; 0 without any."""
        return max((covered_seconds(one.stretches, start, end) for one in self._streams.values()), default=0.0)


def _scale_of(packet: Any) -> tuple[float, float]:
    """Seconds of a tick, and of the longest packet that the codec has; no limit for codecs whose frames vary."""
    context = packet.stream.codec_context
    frame_seconds = context.frame_size / context.sample_rate if context.sample_rate else 0.0
    return float(packet.time_base or 0), MOST_FRAMES * frame_seconds or math.inf


def append_joined(stretches: list[Stretch], new: Stretch) -> None:
    """Add a stretch, joined to the last one where it begins within that or soon after it.

    >>> stretches = [(0.0, 1.0)]
    >>> append_joined(stretches, (1.05, 2.0)); append_joined(stretches, (3.0, 4.0)); stretches
    [(0.0, 2.0), (3.0, 4.0)]
    """
    if stretches:
        first, last = stretches[-1]
        if first <= new[0] <= last + JOINED_SECONDS:
            stretches[-1] = (first, max(last, new[1]))
            return
    stretches.append(new)


def covered_seconds(stretches: Iterable[Stretch], start: float, end: float) -> float:
    """Seconds between start and end that stretches cover, in any order; overlaps count once.

    >>> covered_seconds([(3.0, 9.0), (0.0, 2.0), (1.0, 2.0)], 1.0, 5.0)
    3.0
    """
    merged: list[Stretch] = []
    for stretch in sorted(stretches):
        append_joined(merged, stretch)
    return sum(max(0.0, min(last, end) - max(first, start)) for first, last in merged)
