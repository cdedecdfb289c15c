"""Writes videos: pictures are encoded anew, sound is copied packet by packet, and both keep their common clock.

parent ─decode once, in order─► pictures ─┬─► clip 1 ─encoder─┬─► mp4, or Matroska where mp4 cannot hold the sound
                                          └─► clip 2 …        │
parent ─second look─► audio packets ──────────────────────────┘

The same input gives the same bytes: one thread, fixed settings, no dates.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import Colorspace

from dj_assets.errors import StoreError, Unreadable
from dj_assets.frames import SAME_INSTANT_SECONDS, Size
from dj_assets.video.audio import AudioPacket, AudioReader, audio_of, goes_into_mp4
from dj_assets.video.audio_times import JOINED_SECONDS
from dj_assets.video.decode import MOST_REORDERED, FramesMissing, frames_of
from dj_assets.video.encoder import encoder, pixel_format
from dj_assets.video.filters import UPRIGHT, Chain, Timed, filtered
from dj_assets.video.probe import CLOCK_ROUNDING_SECONDS, OpenVideo, Scan
from dj_assets.video.redraw import Change, Painter

ENCODER_BYTES_A_PIXEL = 50
"""What an encoder holds, measured: some 30 frames of 4:2:0."""

ENCODERS_BYTES = 2**30
"""That all open encoders may hold."""

FORMATS = {
    # Delays of streams are told in ticks of the movie: of the default, a thousandth of a second, sound would be late.
    ".mp4": ("mp4", {"fflags": "+bitexact", "movie_timescale": "90000"}),
    ".mkv": ("matroska", {"fflags": "+bitexact"}),
}
"""Suffix -> FFmpeg's name of the container and its options. bitexact: no dates, no random ids, no versions."""


@dataclass(frozen=True)
class Cut:
    """Frames `first` up to, not including, `stop` of a parent, to be written to `path`."""

    first: int
    stop: int
    path: Path


@dataclass(frozen=True, eq=False)
class Clock:
    """Times of a parent's frames. ticks: int64 [n + 1] in `time_base`, the last being the end of the last frame.

    begin: exact seconds of the first frame on the container's clock, which is also that of the sound.
    """

    ticks: npt.NDArray[np.int64]
    time_base: Fraction
    begin: Fraction
    rate: Fraction

    @property
    def is_grid(self) -> bool:
        """Whether a tick is a frame."""
        return self.time_base * self.rate == 1

    @property
    def is_even(self) -> bool:
        """Whether all frames, the last one too, are shown for the same time."""
        return self.is_grid and int(self.ticks[-1] - self.ticks[-2]) == 1

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, on the container's clock."""
        return self.begin + int(self.ticks[index] - self.ticks[0]) * self.time_base

    def timed(self, frame: Any, index: int, *, first: int = 0) -> Timed:
        """A frame with its time since the frame `first`."""
        ticks = self.ticks
        return Timed(frame, int(ticks[index] - ticks[first]), int(ticks[index + 1] - ticks[index]), self.time_base)


@dataclass(frozen=True)
class Shape:
    """What a file says of its pictures besides what they are.

    pixel_aspect: width by height of a pixel, if known. is_even: whether all are shown for the same time.
    """

    rate: Fraction
    pixel_aspect: Fraction | None
    rotation_degrees: int
    is_even: bool

    @classmethod
    def of_parent(cls, video: OpenVideo, scan: Scan, clock: Clock) -> Self:
        """The parent's, so that players do with these pictures what they do with its own."""
        aspect = video.stream.sample_aspect_ratio
        return cls(clock.rate, Fraction(aspect) if aspect else None, scan.info.rotation_degrees, clock.is_even)

    def upright(self) -> Self:
        """That of the pictures once turned as players do: pixels lie on their side with them."""
        is_lying = self.rotation_degrees % 180 != 0
        aspect = 1 / self.pixel_aspect if self.pixel_aspect and is_lying else self.pixel_aspect
        return replace(self, pixel_aspect=aspect, rotation_degrees=0)


def suffix_for(video: OpenVideo) -> str:
    """`.mp4`, or `.mkv` where the sound cannot go into mp4 as it is."""
    return ".mp4" if goes_into_mp4(video) else ".mkv"


def clock_of(video: OpenVideo, scan: Scan) -> Clock:
    """The parent's clock: its own ticks, or the exact grid where all frames, but for rounding, are on it."""
    info = scan.info
    num_frames = info.num_frames_from_scan
    rate = Fraction(info.fps).limit_denominator(100_000)
    if scan.ticks is None:
        return Clock(np.arange(num_frames + 1), 1 / rate, Fraction(0), rate)
    time_base = Fraction(video.stream.time_base)
    begin = int(scan.ticks[0]) * time_base
    on_grid = np.arange(num_frames) / float(rate)
    end = round(info.duration_seconds * float(rate))
    is_whole = abs(info.duration_seconds - end / float(rate)) <= CLOCK_ROUNDING_SECONDS and end >= num_frames
    if is_whole and np.allclose(info.pts_seconds, on_grid, rtol=0, atol=SAME_INSTANT_SECONDS):
        # The last frame may stay for longer than the others.
        return Clock(np.append(np.arange(num_frames), end), 1 / rate, begin, rate)
    last_ticks = max(1, round((info.duration_seconds - float(info.pts_seconds[-1])) / float(time_base)))
    return Clock(np.append(scan.ticks, scan.ticks[-1] + last_ticks), time_base, begin, rate)


def write_cuts(video: OpenVideo, scan: Scan, cuts: Sequence[Cut], *, linear: bool = False) -> None:
    """Write every cut, in one decode of the parent; in several where more overlap than memory bears encoders of.

    cuts: by rising first frame; they may overlap.

    Each has exactly its frames, at the parent's times less that of its first. Audio packets go to the cut in whose time
    they begin; those before the parent's first frame to its first one, those after the last to its last one.

    Raises `FramesMissing` where a frame does not decode, `Unreadable` where one is damaged or the picture size changes,
    `StoreError` where the disk refuses.
    """
    most = max(1, ENCODERS_BYTES // (scan.info.size.height * scan.info.size.width * ENCODER_BYTES_A_PIXEL))
    for together in rounds(cuts, most):
        _write_together(video, scan, together, linear=linear)


def rounds(cuts: Sequence[Cut], most: int) -> list[list[Cut]]:
    """The cuts dealt out so that in each round at most `most` are open at any frame, in as few rounds as that takes.

    cuts: by rising first frame.
    """
    dealt: list[list[Cut]] = []
    for cut in cuts:
        open_in = [sum(other.stop > cut.first for other in together) for together in dealt]
        free = next((together for together, count in zip(dealt, open_in, strict=True) if count < most), None)
        if free is None:
            dealt.append([cut])
        else:
            free.append(cut)
    return dealt


def _write_together(video: OpenVideo, scan: Scan, cuts: Sequence[Cut], *, linear: bool) -> None:
    clock = clock_of(video, scan)
    wanted = np.unique(np.concatenate([np.arange(cut.first, cut.stop, dtype=np.int64) for cut in cuts]))
    with contextlib.ExitStack() as stack:
        audio = stack.enter_context(audio_of(video))
        clips = deque(_Clip(video, scan, clock, cut, audio) for cut in cuts)
        stack.callback(_discard, clips)
        for index, frame in frames_in_order(video, scan, wanted, linear=linear):
            for clip in clips:
                if clip.cut.first <= index < clip.cut.stop:
                    clip.draw(index, frame)
            _share(audio.until(clock.seconds(index + 1)), clips)
            for clip in [clip for clip in clips if index == clip.cut.stop - 1]:
                if clip.until is None:
                    _share(audio.until(), clips)
                clip.finish()
                clips.remove(clip)


def _discard(clips: Iterable[_Clip]) -> None:
    for clip in clips:
        clip.discard()


def _share(packets: Iterable[AudioPacket], clips: Sequence[_Clip] | deque[_Clip]) -> None:
    """Give each packet to the clips in whose time it begins."""
    for packet in packets:
        takers = [clip for clip in clips if clip.takes(packet)]
        for clip in takers:
            clip.hear(packet if len(takers) == 1 else packet.twin())


class _Clip:
    """One cut on its way: begun with its first picture, with the sound that came before it waiting."""

    def __init__(self, video: OpenVideo, scan: Scan, clock: Clock, cut: Cut, audio: AudioReader) -> None:
        self.cut = cut
        self._video, self._scan, self._clock, self._audio = video, scan, clock, audio
        self._file: VideoFile | None = None
        self._waiting: list[AudioPacket] = []
        self.begin = clock.seconds(cut.first)
        self.since = None if cut.first == 0 else self.begin
        self.until = None if cut.stop == scan.info.num_frames_from_scan else clock.seconds(cut.stop)

    def takes(self, packet: AudioPacket) -> bool:
        """Whether the packet begins in the cut's time."""
        is_late = self.until is not None and packet.begin >= self.until
        return not is_late and (self.since is None or packet.begin >= self.since)

    def draw(self, index: int, frame: Any) -> None:
        picture = self._clock.timed(frame, index, first=self.cut.first)
        if self._file is None:
            shape = Shape.of_parent(self._video, self._scan, self._clock)
            self._file = VideoFile.of(self.cut.path, self._video, shape, self._audio, picture)
            for packet in self._waiting:
                self.hear(packet)
            self._waiting.clear()
        self._file.draw(picture)

    def hear(self, packet: AudioPacket) -> None:
        if self._file is None:
            self._waiting.append(packet)
        else:
            self._file.hear(packet, shift=self.begin)

    def finish(self) -> None:
        if self._file is not None:
            self._file.finish()

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()


def write_redrawn(
    video: OpenVideo, scan: Scan, path: Path, change: Change, *, size: Size | None = None, linear: bool = False
) -> None:
    """Write the whole video, each picture changed. change(picture, index): uint8 [H, W, 3] RGB, not to be written to,
    to one of that shape or of `size`; the very array that it was given means that the picture stays as it is.

    Raises what `write_cuts` does.
    """
    clock = clock_of(video, scan)
    painter = Painter(change, size)
    wanted = np.arange(scan.info.num_frames_from_scan)
    frames = frames_in_order(video, scan, wanted, linear=linear)
    redrawn = (clock.timed(painter.painted(frame, index), index) for index, frame in frames)
    _write_whole(video, path, redrawn, clock, Shape.of_parent(video, scan, clock))


def write_filtered(
    video: OpenVideo, scan: Scan, path: Path, chain: Chain, *, upright: bool = False, linear: bool = False
) -> None:
    """Write the whole video through FFmpeg's filters. upright: turn pictures first, as players do.

    Raises what `write_cuts` does, and `Unreadable` where a filter refuses the pictures.
    """
    clock = clock_of(video, scan)
    shape = Shape.of_parent(video, scan, clock)
    if upright:
        chain = [*UPRIGHT[shape.rotation_degrees], *chain]
        shape = shape.upright()
    wanted = np.arange(scan.info.num_frames_from_scan)
    frames = frames_in_order(video, scan, wanted, linear=linear)
    timed = (clock.timed(frame, index) for index, frame in frames)
    end = clock.seconds(len(wanted)) - clock.begin
    _write_whole(video, path, filtered(video.path, chain, timed, shape.pixel_aspect, end=end), clock, shape)


def _write_whole(video: OpenVideo, path: Path, frames: Iterator[Timed], clock: Clock, shape: Shape) -> None:
    """All pictures and all sound into one file."""
    with contextlib.ExitStack() as stack:
        audio = stack.enter_context(audio_of(video))
        file: VideoFile | None = None
        for picture in frames:
            if file is None:
                if picture.time_base != clock.time_base or clock.is_grid:  # else the parent's is their mean
                    shape = replace(shape, rate=1 / (picture.duration * picture.time_base))
                file = VideoFile.of(path, video, shape, audio, picture)
                stack.callback(file.discard)
            file.draw(picture)
            for packet in audio.until(clock.begin + (picture.ticks + picture.duration) * picture.time_base):
                file.hear(packet, shift=clock.begin)
        if file is None:
            raise Unreadable(
                f"{video.path}: the filters leave no picture",
                allowed="filters that let pictures through",
                try_="change the step's filter",
            )
        for packet in audio.until():
            file.hear(packet, shift=clock.begin)
        file.finish()


def frames_in_order(
    video: OpenVideo, scan: Scan, wanted: npt.NDArray[np.int64], *, linear: bool = False
) -> Iterator[tuple[int, Any]]:
    """Every wanted frame, once, in display order, with its index. wanted: int64 [k], increasing.

    Raises `FramesMissing` where one does not decode, and `Unreadable` where one is damaged or of another size.
    """
    waiting: dict[int, Any] = {}
    left = deque(wanted.tolist())
    asked = set(left)
    size: Size | None = None
    for index, frame in frames_of(video, scan, wanted, linear=linear):
        if index in asked:
            asked.discard(index)
            size = _checked(video, scan, index, frame, size)
            waiting[index] = frame
        while left and left[0] in waiting:
            first = left.popleft()
            yield first, waiting.pop(first)
        if not left or len(waiting) > MOST_REORDERED:
            break
    if left:
        raise FramesMissing(
            f"{video.path}: {len(left)} of {len(wanted)} frames do not decode in their place, the first is frame "
            f"{left[0]} of {scan.info.num_frames_from_scan}",
            allowed="a video whose frames decode",
            try_="fetch it again, or re-encode it",
        )


def _checked(video: OpenVideo, scan: Scan, index: int, frame: Any, size: Size | None) -> Size:
    """The frame's size, if it is that of the frames before it. Raises `Unreadable`."""
    if frame.is_corrupt:
        raise Unreadable(
            f"{video.path}: frame {index} of {scan.info.num_frames_from_scan} is damaged",
            allowed="a video whose frames decode",
            try_="fetch it again, or re-encode it",
        )
    found = Size(frame.height, frame.width)
    if size is not None and found != size:
        raise Unreadable(
            f"{video.path}: the picture size changes from {size.width}x{size.height} to "
            f"{found.width}x{found.height} (width x height) at frame {index}",
            allowed="one picture size throughout",
            try_="split the video where the size changes",
        )
    return found


class VideoFile:
    """A video being written: pictures through an encoder, audio packets as they are. Use `finish` or `discard`."""

    def __init__(self, path: Path, container: Any, stream: Any, audio: Sequence[Any]) -> None:
        self._path = path
        self._container = container
        self._stream = stream
        self._audio = audio
        self._durations: dict[int, int] = {}
        self._heard: dict[int, int] = {}

    @classmethod
    def of(cls, path: Path, video: OpenVideo, shape: Shape, audio: AudioReader, picture: Timed) -> Self:
        """Begin a file for pictures like this one."""
        chosen, frame = encoder(), picture.frame
        size = Size(frame.height, frame.width)
        with _writing(path):
            name, options = FORMATS[suffix_for(video)]
            container = av.open(str(path), "w", format=name, options=options)
            # Mp4 has times from one packet to the next, so of the last one stored; that must be the last one shown.
            options_now = {**chosen.options, **({} if shape.is_even else chosen.in_order)}
            stream: Any = container.add_stream(chosen.name, rate=shape.rate, options=options_now)
            stream.codec_context.thread_count = 1
            stream.width, stream.height = size.width, size.height
            stream.pix_fmt = pixel_format(chosen, frame.format, size)
            stream.codec_context.time_base = picture.time_base
            _keep_looks(stream, shape, frame)
            sounds = [container.add_stream_from_template(template) for template in audio.streams]
        return cls(path, container, stream, sounds)

    def draw(self, picture: Timed) -> None:
        frame = picture.frame
        frame.pts, frame.time_base = picture.ticks, picture.time_base
        frame.pict_type = PictureType.NONE  # else the encoder repeats the parent's key frames
        self._durations[picture.ticks] = picture.duration
        with _writing(self._path):
            self._write(self._stream.encode(frame))

    def hear(self, packet: AudioPacket, *, shift: Fraction) -> None:
        """Write an audio packet, `shift` seconds earlier.

        Containers take no packet that is not later than the one before it. One that rounding put there goes right
        behind that one. One from further back has no place in time any more, and is left out: the clock was set back,
        as in files joined end to end.
        """
        raw = packet.packet
        time_base = Fraction(raw.time_base)
        wanted = round(packet.begin / time_base) - round(shift / time_base)
        ticks = max(wanted, self._heard.get(packet.number, wanted - 1) + 1)
        if (ticks - wanted) * time_base > JOINED_SECONDS:
            return
        self._heard[packet.number] = ticks
        raw.pts = raw.dts = ticks
        raw.stream = self._audio[packet.number]
        with _writing(self._path):
            self._container.mux(raw)

    def finish(self) -> None:
        with _writing(self._path):
            self._write(self._stream.encode())
            self._container.close()

    def discard(self) -> None:
        """Close what will not be used."""
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            self._container.close()

    def _write(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)


def _keep_looks(stream: Any, shape: Shape, frame: Any) -> None:
    """Colour of the pictures, shape of their pixels, and the turn that players apply."""
    context = stream.codec_context
    context.color_range, context.colorspace = frame.color_range, frame.colorspace
    if frame.format.is_rgb:  # FFmpeg makes YUV of it by these numbers, since no encoder here takes it
        context.colorspace = Colorspace.ITU601
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
    if shape.pixel_aspect:
        context.sample_aspect_ratio = shape.pixel_aspect
    if shape.rotation_degrees:
        stream.set_display_rotation(shape.rotation_degrees)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A disk that refuses is no fault of the video, and must not become a fact about it."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}",
            allowed="a writable folder with free space",
            try_="free some space or mend the rights of the folder, then run again; what is written is kept",
        ) from error
