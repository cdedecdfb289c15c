"""Which packets a decoder has to see for the pictures that are wanted. Numbers in, numbers out: no video in sight.

packets, in file order    I b P b P b P b I b P b …        pictures wanted: ↓
stretches                 ├───────────┤   ├──┤             from the key packet that governs it up to each ↓
not sent                    b   b                ← of these the disposable ones that nobody wants
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

JUMPABLE_CODECS = frozenset(
    ("h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "libaom-av1", "mjpeg")
)
"""Decoders (FFmpeg's names) that give the same picture, or none, wherever they begin: others are sent all packets."""


@dataclass(frozen=True, eq=False)
class PacketTable:
    """Every packet of a stream in file order, which is the order of decoding.

    frames: int64 [P], the index of a packet's picture in display order, -1 where it shows none.
    keys: bool [P], whether the container says that decoding may begin there. num_bytes: int64 [P].
    """

    frames: npt.NDArray[np.int64]
    keys: npt.NDArray[np.bool_]
    num_bytes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, eq=False)
class DecodePlan:
    """What to send. wanted: bool [P], packets whose pictures are wanted.

    stretches: int64 [S, 2], first and last packet of each run to send; between two, the decoder is emptied. Within them
    packets that are neither wanted nor needed by another may be left out.
    """

    wanted: npt.NDArray[np.bool_]
    stretches: npt.NDArray[np.int64]

    @property
    def num_in_stretches(self) -> int:
        """Packets in some stretch."""
        return int((self.stretches[:, 1] - self.stretches[:, 0] + 1).sum())


def plan_packets(table: PacketTable, wanted_frames: npt.NDArray[np.int64], *, linear: bool = False) -> DecodePlan:
    """The stretches for these pictures. wanted_frames: int64 [k], increasing. linear: one stretch, all packets.

    A picture needs all packets from its key packet on: the last one that neither comes after it in the file nor is
    shown after it (pictures that follow an open key packet and are shown before it need the one before).
    """
    wanted = np.isin(table.frames, wanted_frames)
    keys = np.flatnonzero(table.keys & (table.frames >= 0))
    ends = np.flatnonzero(wanted)
    if linear or not len(keys) or not len(ends):
        whole = [[0, len(table) - 1]] if len(table) else np.zeros((0, 2))
        return DecodePlan(wanted, np.array(whole, dtype=np.int64).reshape(-1, 2))
    before = np.searchsorted(keys, ends, side="right") - 1
    while True:  # one step for each open key packet in a row; one in practice
        is_late = (before >= 0) & (table.frames[keys[np.maximum(before, 0)]] > table.frames[ends])
        if not is_late.any():
            break
        before = before - is_late
    begins = np.where(before >= 0, keys[np.maximum(before, 0)], 0)
    return DecodePlan(wanted, _merged(begins, ends))


def _merged(begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Runs [begin, end] joined where they touch. ends: increasing. Returns int64 [S, 2]."""
    runs: list[list[int]] = []
    for begin, end in sorted(zip(begins.tolist(), ends.tolist(), strict=True)):
        if runs and begin <= runs[-1][1] + 1:
            runs[-1][1] = max(runs[-1][1], end)
        else:
            runs.append([begin, end])
    return np.array(runs, dtype=np.int64).reshape(-1, 2)
