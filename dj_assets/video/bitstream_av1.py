"""Which AV1 packets hold no picture that another is decoded from (AV1 Bitstream & Decoding Process, 5.3, 5.5, 5.9)."""

from __future__ import annotations

from dataclasses import dataclass

Packet = bytes | memoryview

_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _FRAME_HEADER, _TILE_GROUP, _METADATA, _FRAME, _PADDING = 1, 2, 3, 4, 5, 6, 15
_SAYS_NOTHING = frozenset((_TEMPORAL_DELIMITER, _TILE_GROUP, _METADATA, _PADDING))

_INTER_FRAME = 1
_SELECT = 2
"""A sequence that leaves a choice to each frame."""

_MP4_RECORD_BYTES = 4
"""Before the units of an av1C record (AV1 in ISO BMFF, 2.3)."""


class _Malformed(Exception):
    """Bits end before what they promise."""


@dataclass(frozen=True)
class _Sequence:
    """What a frame's header cannot be read without. Bits: of the fields of those names."""

    screen_content_tools: int
    integer_mv: int
    frame_id_bits: int
    order_hint_bits: int


class Av1Test:
    """Disposable are packets whose frames refresh none of the eight slots that others are predicted from.

    Streams with several layers, with a decoder model, or of single still pictures are not looked into.
    """

    def __init__(self, extradata: bytes) -> None:
        self.sequence: _Sequence | None = None
        if extradata:
            self(extradata[_MP4_RECORD_BYTES:] if extradata[0] == 0x81 else extradata)

    def __call__(self, packet: Packet) -> bool:
        try:
            return self._is_disposable(memoryview(packet))
        except _Malformed:
            return False

    def _is_disposable(self, packet: memoryview) -> bool:
        has_frame = False
        is_disposable = True
        for kind, is_layered, unit in _units(packet):
            if kind == _SEQUENCE_HEADER:
                self.sequence = None  # stays so where it is malformed
                self.sequence = _sequence(_Bits(unit))
                is_disposable = False
            elif kind in (_FRAME_HEADER, _FRAME):
                has_frame = True
                is_disposable = (
                    is_disposable
                    and not is_layered
                    and self.sequence is not None
                    and _refreshes_nothing(_Bits(unit), self.sequence)
                )
            elif kind not in _SAYS_NOTHING:
                is_disposable = False
        return has_frame and is_disposable


def _units(packet: memoryview) -> list[tuple[int, bool, memoryview]]:
    """Kind, whether it names a layer, and content of each open bitstream unit."""
    found = []
    at = 0
    while at < len(packet):
        header = packet[at]
        at += 1
        is_layered = bool(header & 4)
        at += is_layered
        size = len(packet) - at
        if header & 2:
            size, at = _leb128(packet, at)
        if header & 0x80 or size < 0 or at + size > len(packet):
            raise _Malformed
        found.append((header >> 3 & 15, is_layered, packet[at : at + size]))
        at += size
    return found


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        if at >= len(data):
            raise _Malformed
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, at
    raise _Malformed


class _Bits:
    """Reads numbers of some bits, the highest first."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def read(self, count: int) -> int:
        value = 0
        for _ in range(count):
            place = self.at >> 3
            if place >= len(self.data):
                raise _Malformed
            value = value << 1 | (self.data[place] >> (7 - (self.at & 7)) & 1)
            self.at += 1
        return value

    def flag(self) -> bool:
        return bool(self.read(1))


def _sequence(bits: _Bits) -> _Sequence | None:
    """A sequence header; None where frames of it are not looked into."""
    bits.read(3 + 1)  # profile, still picture
    if bits.flag():  # one still picture, with a header of its own kind
        return None
    if bits.flag():  # timing
        bits.read(32 + 32)
        if bits.flag():
            _skip_uvlc(bits)
        if bits.flag():  # a decoder model: its fields come between those that are read here
            return None
    has_display_delay = bits.flag()
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if has_display_delay and bits.flag():
            bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width_bits)
    bits.read(height_bits)
    frame_id_bits = 0
    if bits.flag():
        frame_id_bits = bits.read(4) + bits.read(3) + 3
    bits.read(3 + 4)  # superblock size, intra tools; four inter tools
    has_order_hint = bits.flag()
    if has_order_hint:
        bits.read(2)
    screen_content_tools = _SELECT if bits.flag() else bits.read(1)
    integer_mv = _SELECT
    if screen_content_tools:
        integer_mv = _SELECT if bits.flag() else bits.read(1)
    order_hint_bits = bits.read(3) + 1 if has_order_hint else 0
    return _Sequence(screen_content_tools, integer_mv, frame_id_bits, order_hint_bits)


def _skip_uvlc(bits: _Bits) -> None:
    zeros = 0
    while not bits.flag():
        zeros += 1
        if zeros == 32:
            return
    bits.read(zeros)


def _refreshes_nothing(bits: _Bits, sequence: _Sequence) -> bool:
    """Whether a frame is shown, predicted from others, and kept for none."""
    if bits.flag():  # shows one that is there: that may refresh all
        return False
    if bits.read(2) != _INTER_FRAME or not bits.flag():  # not shown now: shown later by another packet
        return False
    is_resilient = bits.flag()
    bits.read(1)
    tools = bits.read(1) if sequence.screen_content_tools == _SELECT else sequence.screen_content_tools
    if tools and sequence.integer_mv == _SELECT:
        bits.read(1)
    bits.read(sequence.frame_id_bits)
    bits.read(1)  # whether it has a size of its own
    bits.read(sequence.order_hint_bits)
    if not is_resilient:
        bits.read(3)
    return bits.read(8) == 0
