"""The sound of a video that is being rewritten: its packets as they are, in time with the pictures.

Read by a second look into the same open file, so that pictures and sound are read side by side, whatever their order in
the file, and neither waits in memory for the other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from dj_assets.errors import Unreadable
from dj_assets.video.probe import OpenVideo, open_container

MP4_AUDIO = frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"))
"""Codecs that players find in mp4. Others (Vorbis, PCM, WMA …) go into Matroska, so that no sound is encoded anew."""


@dataclass(frozen=True)
class AudioPacket:
    """begin: seconds on the container's clock. number: its stream's place among the audio streams."""

    packet: Any
    begin: Fraction
    number: int

    def twin(self) -> AudioPacket:
        """The same for a second file: writing a packet uses it up."""
        return AudioPacket(_twin(self.packet), self.begin, self.number)


def goes_into_mp4(video: OpenVideo) -> bool:
    """Whether all of the video's sound does."""
    return all(_codec(video, stream) in MP4_AUDIO for stream in video.container.streams.audio)


def _codec(video: OpenVideo, stream: Any) -> str:
    if stream.codec_context is None:
        raise Unreadable(
            f"{video.path}: its sound is in a codec that FFmpeg does not know",
            allowed="sound that can be copied",
            try_="re-encode it: ffmpeg -i IN -c:v copy -c:a aac OUT.mp4",
        )
    return str(stream.codec_context.codec.canonical_name)


class AudioReader:
    """Audio packets of a file, in its order. streams: those of the second look, templates for what is written."""

    def __init__(self, container: Any | None) -> None:
        self.streams: tuple[Any, ...] = () if container is None else tuple(container.streams.audio)
        self._numbers = {stream.index: number for number, stream in enumerate(self.streams)}
        self._ends: list[Fraction | None] = [None] * len(self.streams)
        self._packets = self._read(container) if container is not None else iter(())

    def until(self, seconds: Fraction | None = None) -> Iterator[AudioPacket]:
        """The next packets, until every stream has come to that time, or to the end of the file."""
        while seconds is None or any(end is None or end < seconds for end in self._ends):
            packet = next(self._packets, None)
            if packet is None:
                return
            yield packet

    def _read(self, container: Any) -> Iterator[AudioPacket]:
        for packet in container.demux(self.streams):
            if packet.size:
                number = self._numbers[packet.stream.index]
                time_base = Fraction(packet.time_base)
                at = packet.pts if packet.pts is not None else packet.dts
                begin = at * time_base if at is not None else self._ends[number] or Fraction(0)
                self._ends[number] = begin + (packet.duration or 0) * time_base
                yield AudioPacket(packet, begin, number)


@contextlib.contextmanager
def audio_of(video: OpenVideo) -> Iterator[AudioReader]:
    """Open the file of a video a second time, for its sound; nothing is opened where it has none."""
    if not video.container.streams.audio:
        yield AudioReader(None)
        return
    container = open_container(_SecondLook(video.file), video.limits)
    try:
        yield AudioReader(container)
    finally:
        container.close()


class _SecondLook:
    """The same open file, with a place of its own: reading here moves nothing there."""

    def __init__(self, file: Any) -> None:
        self._descriptor = file.fileno()
        self._size = os.fstat(self._descriptor).st_size
        self._place = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._descriptor, size, self._place)
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place


def _twin(packet: Any) -> Any:
    """A packet of the same bytes, times and side data."""
    other = av.Packet(bytes(packet))
    other.pts, other.dts, other.duration, other.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    other.is_keyframe = packet.is_keyframe
    for side in packet.iter_sidedata():
        other.set_sidedata(side)
    return other
