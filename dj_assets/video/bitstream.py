"""What a packet says of itself: whether another picture is decoded from its own, and whether decoding may begin at it.

Containers flag both, and are often wrong or silent; the coded bits are neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dj_assets.video.bitstream_av1 import Av1Test

Packet = bytes | memoryview

IsDisposable = Callable[[Packet], bool]
"""Whether no other picture of the stream is decoded from a packet's. To be asked of packets in file order."""


def disposable_test(codec: str, extradata: bytes) -> IsDisposable | None:
    """The test for a stream's packets, or None for codecs whose packets do not tell.

    codec: FFmpeg's name of the decoder. extradata: what the container holds for it (avcC, hvcC, av1C or plain units).
    """
    if codec == "h264":
        length_size = (extradata[4] & 3) + 1 if _is_mp4_record(extradata, 7) else 0
        return lambda packet: _h264_is_disposable(packet, length_size)
    if codec == "hevc":
        return _HevcTest(extradata)
    if codec in ("av1", "libdav1d", "libaom-av1"):
        return Av1Test(extradata)
    return None


def begins_decoding(codec: str, extradata: bytes, packet: Packet) -> bool:
    """Whether a packet that the container calls a key frame decodes without those before it.

    Asked of HEVC alone, whose decoder makes up what is missing and says nothing; others give an error or no picture.
    """
    if codec != "hevc":
        return True
    units = _units(packet, _hevc_length_size(extradata))
    types = [unit[0] >> 1 & 63 for unit in units if unit is not None and len(unit) > 1]
    pictures = [kind for kind in types if kind < _HEVC_FIRST_NON_VCL]
    return bool(pictures) and all(_HEVC_FIRST_IRAP <= kind <= _HEVC_LAST_IRAP for kind in pictures)


class ParameterSets:
    """Whether a stream is decoded by the same parameter sets throughout. To be shown its packets in file order.

    Where sets are replaced on the way, a packet cannot be decoded rightly without those between it and its last set,
    key packet or not: an encoder need not repeat them. Asked of H.264 and HEVC alone.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self.change = False
        self._kind_of = _PARAMETER_SETS.get(codec)
        self._length_size = 0
        self._known: set[bytes] = set()
        if codec == "h264":
            self._length_size = (extradata[4] & 3) + 1 if _is_mp4_record(extradata, 7) else 0
            self._known = set(map(_trimmed, _h264_parameter_sets(extradata)))
        elif codec == "hevc":
            self._length_size = _hevc_length_size(extradata)
            self._known = set(map(_trimmed, _hevc_parameter_sets(extradata)))

    def see(self, packet: Packet) -> None:
        """One more packet. Sets that none was known before are the stream's own; any other is a change."""
        if self._kind_of is None or self.change:
            return
        is_set = self._kind_of
        found = {_trimmed(unit) for unit in _units(packet, self._length_size) if unit is not None and is_set(unit)}
        if not self._known:
            self._known = found
        self.change = not found <= self._known


_PARAMETER_SETS: dict[str, Callable[[Packet], bool]] = {
    "h264": lambda unit: len(unit) > 0 and unit[0] & 31 in (7, 8, 13, 15),
    "hevc": lambda unit: len(unit) > 0 and unit[0] >> 1 & 63 in (32, 33, 34),
}
"""codec -> whether a unit is a parameter set."""


def _trimmed(unit: Packet | None) -> bytes:
    """Without the zeros that belong to the start code after it: no unit ends in one."""
    return bytes(unit or b"").rstrip(b"\0")


# --- H.264: ITU-T H.264, 7.3.1 and table 7-1

_H264_SLICES = frozenset((1, 2, 3, 4, 5))
_H264_SAYS_NOTHING = frozenset((6, 9, 12))
"""Supplemental information, delimiter, filler: no picture needs them. Parameter sets are not among these."""


def _h264_parameter_sets(extradata: bytes) -> Iterator[Packet | None]:
    """NAL units of an avcC record (ISO/IEC 14496-15, 5.3.3.1) or of a plain stream of them."""
    if not _is_mp4_record(extradata, 7):
        yield from _units(extradata, 0)
        return
    at = 5
    for mask in (0x1F, 0xFF):
        count = int.from_bytes(extradata[at : at + 1], "big") & mask
        at += 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            yield extradata[at + 2 : at + 2 + size]
            at += 2 + size


def _h264_is_disposable(packet: Packet, length_size: int) -> bool:
    has_slice = False
    for unit in _units(packet, length_size):
        if unit is None:
            return False
        if not len(unit):
            continue
        kind = unit[0] & 31
        if kind in _H264_SLICES:
            if unit[0] & 0x60:  # nal_ref_idc
                return False
            has_slice = True
        elif kind not in _H264_SAYS_NOTHING:
            return False
    return has_slice


# --- HEVC: ITU-T H.265, 7.3.1.2 and table 7-1

_HEVC_LAST_SUBLAYER_TYPE = 14
"""Up to here even types are pictures that none of the same sub-layer refers to."""

_HEVC_FIRST_IRAP, _HEVC_LAST_IRAP = 16, 23
_HEVC_FIRST_NON_VCL = 32
_HEVC_SPS = 33
_HEVC_SAYS_NOTHING = frozenset((35, 38, 39, 40))
"""Delimiter, filler, supplemental information."""


class _HevcTest:
    """Disposable are pictures of the highest sub-layer that none of their own sub-layer refers to."""

    def __init__(self, extradata: bytes) -> None:
        self.length_size = _hevc_length_size(extradata)
        self.highest_sublayer: int | None = None
        for unit in _hevc_parameter_sets(extradata):
            self._note(unit)

    def __call__(self, packet: Packet) -> bool:
        has_slice = False
        is_disposable = True
        for unit in _units(packet, self.length_size):
            if unit is None:
                return False
            if len(unit) < 2:
                continue
            kind = unit[0] >> 1 & 63
            if kind < _HEVC_FIRST_NON_VCL:
                has_slice = True
                sublayer = (unit[1] & 7) - 1
                refers_none = kind <= _HEVC_LAST_SUBLAYER_TYPE and kind % 2 == 0
                is_disposable = is_disposable and refers_none and sublayer == self.highest_sublayer
            elif kind not in _HEVC_SAYS_NOTHING:
                self._note(unit)
                is_disposable = False
        return has_slice and is_disposable

    def _note(self, unit: Packet | None) -> None:
        if unit is not None and len(unit) > 2 and unit[0] >> 1 & 63 == _HEVC_SPS:
            self.highest_sublayer = max(self.highest_sublayer or 0, unit[2] >> 1 & 7)


def _hevc_length_size(extradata: bytes) -> int:
    return (extradata[21] & 3) + 1 if _is_mp4_record(extradata, 23) else 0


def _hevc_parameter_sets(extradata: bytes) -> Iterator[Packet | None]:
    """NAL units of an hvcC record (ISO/IEC 14496-15, 8.3.3.1) or of a plain stream of them."""
    if not _is_mp4_record(extradata, 23):
        yield from _units(extradata, 0)
        return
    at = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            yield extradata[at + 2 : at + 2 + size]
            at += 2 + size


# --- both


def _is_mp4_record(extradata: bytes, least: int) -> bool:
    """Whether extradata is an MP4 configuration record, so that packets hold lengths in place of start codes."""
    return len(extradata) >= least and extradata[0] == 1


def _units(packet: Packet, length_size: int) -> Iterator[Packet | None]:
    """NAL units of a packet: after their lengths in that many bytes, or between start codes where that is 0.

    None stands for one that is longer than what is left: the packet is not what the container says.
    """
    if not length_size:
        yield from _units_by_start_code(bytes(packet))
        return
    data = memoryview(packet)
    at = 0
    while at + length_size < len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        yield data[at : at + size] if at + size <= len(data) else None
        at += size


def _units_by_start_code(data: bytes) -> Iterator[bytes]:
    begin = data.find(b"\x00\x00\x01")
    while begin >= 0:
        begin += 3
        end = data.find(b"\x00\x00\x01", begin)
        yield data[begin : end if end >= 0 else len(data)]
        begin = end
