"""When there is sound: stretches of packets, joined, overlapping, out of order, without times or lengths."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from dj_assets.video.audio_times import AudioTimes, covered_seconds


@dataclass
class Packet:
    """As a demuxer gives it, in hundredths of a second."""

    pts: int | None
    duration: int | None = 10
    dts: int | None = None
    stream_index: int = 1
    is_discard: bool = False
    frame_seconds: float = 0.0
    time_base: Fraction = Fraction(1, 100)

    @property
    def stream(self) -> Any:
        return SimpleNamespace(
            codec_context=SimpleNamespace(frame_size=self.frame_seconds * 16_000, sample_rate=16_000)
        )


def seconds(packets: list[Packet], start: float = 0.0, end: float = 10.0) -> float:
    times = AudioTimes()
    for packet in packets:
        times.add(packet)
    return times.seconds_within(start, end)


@pytest.mark.parametrize(
    ("case", "packets", "expected"),
    [
        ("none", [], 0.0),
        ("one after the other", [Packet(0), Packet(10), Packet(20)], 0.3),
        ("a rounded gap", [Packet(0), Packet(11)], 0.21),
        ("a real gap", [Packet(0), Packet(100)], 0.2),
        ("out of order", [Packet(100), Packet(0), Packet(50, 60)], 0.7),
        ("twice", [Packet(0), Packet(0)], 0.1),
        ("without lengths", [Packet(tick, None) for tick in range(0, 50, 5)], 0.45),
        ("without times", [Packet(0), Packet(None), Packet(None)], 0.3),
        ("times of decoding alone", [Packet(None, dts=0), Packet(None, dts=100)], 0.2),
        ("never a time", [Packet(None), Packet(None)], 0.0),
        ("not to be played", [Packet(0, is_discard=True), Packet(10)], 0.1),
        ("stretched over a pause", [Packet(0, 500, frame_seconds=0.1), Packet(500)], 0.3),
        ("long by nature", [Packet(0, 500), Packet(500)], 5.1),
        ("two streams", [Packet(0), Packet(0, 30, stream_index=2), Packet(500)], 0.3),
        ("before the start and past the end", [Packet(-100, 150), Packet(950, 100)], 1.0),
    ],
)
def test_seconds_with_packets(case: str, packets: list[Packet], expected: float) -> None:
    assert seconds(packets) == pytest.approx(expected), case


def test_only_the_time_of_the_pictures_counts() -> None:
    assert seconds([Packet(0, 1000)], 2.0, 5.0) == pytest.approx(3.0)
    assert covered_seconds([(0.0, 1.0)], 5.0, 6.0) == 0.0
