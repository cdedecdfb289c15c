"""Merged plans, one sequential pass: decode a video once and hand every operator the windows it asked for.

Frames come in display order and are kept only while a later window of some plan still needs them, so memory is bounded
by the widest window and one batch per plan, whatever the video's length.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from dj_assets.errors import Unreadable
from dj_assets.frames import FramePlan, Look, Windows
from dj_assets.video.bitstream import begins_decoding, disposable_test
from dj_assets.video.decode_plan import JUMPABLE_CODECS, DecodePlan, plan_packets
from dj_assets.video.probe import OpenVideo, Scan, decoded, decoded_frames

BATCH_BYTES = 32 * 2**20
"""Pictures handed over at once: some frames of 1080p, small beside a worker's memory."""

SEEK_PACKETS = 256
"""Gaps of at least so many packets are sought over: reading past one costs some 20 µs, a seek some milliseconds."""

MOST_REORDERED = 16
"""Frames by which a decoder may be out of display order: the most that H.264 and HEVC hold back. Some streams say
fewer than they need, and their frames come late."""

MICROSECONDS = 1_000_000
"""In a second; FFmpeg's unit for a container's times."""


class FramesMissing(Unreadable):
    """Wanted frames did not come out of the decoder."""


def decode_windows(
    video: OpenVideo,
    scan: Scan,
    plans: Sequence[FramePlan],
    *,
    batch_bytes: int = BATCH_BYTES,
    linear: bool = False,
) -> Iterator[tuple[int, Windows]]:
    """Decode once, in order; yield (plan number, batch of its windows) as batches fill.

    The windows of one plan come in its order. Packets that no wanted picture needs are not decoded, unless `linear`:
    then all are, up to the last wanted one. Raises `FramesMissing` when not every wanted frame has come (without
    `linear`, also where the stream's key packets are not what they seem), and `Unreadable` when the picture size
    changes on the way.
    """
    builders = [_WindowBuilder(plan, scan, batch_bytes) for plan in plans]
    wanted = wanted_frames(plans)
    missing = set(wanted.tolist())
    if missing:
        last = int(wanted[-1])
        reader = PictureReader(scan.info.rotation_degrees)
        for index, frame in frames_of(video, scan, wanted, linear=linear):
            if index in missing:
                missing.discard(index)
                pictures = reader.of(frame)
                for number, builder in enumerate(builders):
                    if builder.wants(index):
                        for windows in builder.add(index, pictures.seen_as(builder.plan.look), video.path):
                            yield number, windows
            if not missing or index > last + MOST_REORDERED:
                break
    if missing:
        raise FramesMissing(
            f"{video.path}: {len(missing)} of {len(wanted)} wanted frames do not decode, "
            f"the first is frame {min(missing)} of {scan.info.num_frames_from_scan}{_why(video)}",
            allowed="a video whose sampled frames decode",
            try_="fetch it again, or re-encode it",
        )
    for number, builder in enumerate(builders):
        for windows in builder.rest():
            yield number, windows


def wanted_frames(plans: Sequence[FramePlan]) -> npt.NDArray[np.int64]:
    """int64 [k]: every frame that some plan wants, strictly increasing."""
    return np.unique(np.concatenate([plan.frames for plan in plans])) if plans else np.zeros(0, dtype=np.int64)


def with_rotation(video: OpenVideo, scan: Scan) -> Scan:
    """The scan with what only a frame tells, by the first that decodes: the turn that players apply, and whether frames
    are interlaced. Then one may be of two packets, one for each field, and all are decoded in order."""
    for frame in _decoded_from_start(video):
        quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4
        info = replace(scan.info, rotation_degrees=90 * quarter_turns)
        return replace(scan, info=info, is_whole=scan.is_whole or bool(frame.interlaced_frame))
    return scan


class PictureReader:
    """Decoded frames as operators want them.

    Goes through FFmpeg's bgr24 or rgb24 and OpenCV's area resize and grey, as Data-Juicer does, since other routes
    to the same picture (the Y plane, say) move scores by percents. FFmpeg's tables for the conversion are made once for
    a video: made for each frame they cost three times the conversion.
    """

    def __init__(self, rotation_degrees: int = 0) -> None:
        self.rotation_degrees = rotation_degrees
        self._converter = VideoReformatter()

    def of(self, frame: Any) -> Pictures:
        """One frame, to be seen in several ways."""
        return Pictures(self, frame)

    def converted(self, frame: Any, base: str) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3] in bgr24 or rgb24, not turned."""
        pixels: Any = self._converter.reformat(frame, format=base, threads=1).to_ndarray()
        return pixels


class Pictures:
    """One frame; every conversion of it is made once, whoever asks."""

    def __init__(self, reader: PictureReader, frame: Any) -> None:
        self._reader = reader
        self._frame = frame
        self._bases: dict[tuple[str, bool], npt.NDArray[np.uint8]] = {}
        self._seen: dict[Look, npt.NDArray[np.uint8]] = {}

    def seen_as(self, look: Look) -> npt.NDArray[np.uint8]:
        """uint8 [H, W] for gray8, else [H, W, 3]. Not to be written to."""
        if look not in self._seen:
            self._seen[look] = self._made(look)
        return self._seen[look]

    def _made(self, look: Look) -> npt.NDArray[np.uint8]:
        pixels = self._base("rgb24" if look.pixel_format == "rgb24" else "bgr24", look.apply_rotation)
        if look.size is None and look.pixel_format != "gray8":
            return pixels
        import cv2

        if look.size is not None and look.size != pixels.shape[:2]:
            # OpenCV takes (width, height).
            pixels = cv2.resize(pixels, (look.size.width, look.size.height), interpolation=cv2.INTER_AREA)
        if look.pixel_format == "gray8":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        return pixels

    def _base(self, pixel_format: str, apply_rotation: bool) -> npt.NDArray[np.uint8]:
        turn = self._reader.rotation_degrees // 90 if apply_rotation else 0
        key = (pixel_format, bool(turn))
        if key not in self._bases:
            if turn:
                self._bases[key] = np.ascontiguousarray(np.rot90(self._base(pixel_format, False), turn))
            else:
                self._bases[key] = self._reader.converted(self._frame, pixel_format)
        return self._bases[key]


# --- which packets are decoded


def frames_of(
    video: OpenVideo, scan: Scan, wanted: npt.NDArray[np.int64], *, linear: bool = False
) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their index in the pts table, the wanted ones among them; others as they come.

    Ends early where the stream is not what its packets say; the caller finds frames missing then.
    """
    if scan.ticks is None or scan.packets is None:
        yield from _indexed(scan, _decoded_from_start(video))
        return
    linear = linear or not is_planned(video, scan)
    plan = plan_packets(scan.packets, wanted, linear=linear)
    for index, frame in _indexed(scan, _decoded(video, _sent(video, scan, plan, linear=linear))):
        # A picture that was made up for want of another one: decoding from the start may know it.
        if linear or not frame.is_corrupt:
            yield index, frame


@dataclass(frozen=True)
class DecodeCounts:
    """What decoding for some plans takes. Packets are those of the stream: sent to the decoder, disposable ones that
    are left out of what is sent, and those outside the stretches. stretches: times that the decoder begins."""

    packets: int
    sent: int
    disposable: int
    outside: int
    stretches: int
    is_planned: bool


def count_packets(video: OpenVideo, scan: Scan, wanted: npt.NDArray[np.int64]) -> DecodeCounts | None:
    """What decoding these frames would take, found without it; None where packets do not tell. wanted: int64 [k]."""
    if scan.packets is None:
        return None
    planned = is_planned(video, scan)
    plan = plan_packets(scan.packets, wanted, linear=not planned)
    sent = sum(packet is not None for packet in _sent(video, scan, plan, linear=not planned))
    inside = plan.num_in_stretches
    return DecodeCounts(
        packets=len(scan.packets),
        sent=sent,
        disposable=inside - sent,
        outside=len(scan.packets) - inside,
        stretches=len(plan.stretches),
        is_planned=planned,
    )


def is_planned(video: OpenVideo, scan: Scan) -> bool:
    """Whether decoding leaves out what is not needed: of codecs and containers whose packets are as they seem."""
    is_jumpable = video.stream.codec_context.name in JUMPABLE_CODECS
    return scan.packets is not None and is_jumpable and not scan.is_whole


def _indexed(scan: Scan, frames: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """Frames with their index in the pts table; those that the table does not know are left out."""
    if scan.ticks is None:
        yield from enumerate(frames)
        return
    index_of = {int(tick): index for index, tick in enumerate(scan.ticks)}
    for frame in frames:
        index = index_of.get(frame.pts)
        if index is not None:
            yield index, frame


def _decoded_from_start(video: OpenVideo) -> Iterator[Any]:
    """Every frame that decodes, in display order; packets that fail are left out, as players do."""
    return _decoded(video, itertools.chain(video.packets(), [None]))


def _decoded(video: OpenVideo, sent: Iterator[Any | None]) -> Iterator[Any]:
    """Frames of what is sent to the decoder, which is emptied at each None."""
    video.stream.codec_context.flush_buffers()
    for packet in sent:
        yield from decoded(video, packet)
        if packet is None:
            video.stream.codec_context.flush_buffers()


def _sent(video: OpenVideo, scan: Scan, plan: DecodePlan, *, linear: bool) -> Iterator[Any | None]:
    """The packets that go to the decoder, and None after each stretch. linear: all of the plan's stretches."""
    context = video.stream.codec_context
    codec, extradata = context.name, context.extradata or b""
    is_disposable = None if linear else disposable_test(codec, extradata)
    packets = _Packets(video, scan)
    for first, last in plan.stretches.tolist():
        for position, packet in packets.between(first, last):
            if position == first > 0 and not begins_decoding(codec, extradata, bytes(packet)):
                return
            # All are shown to the test: it learns from parameter sets on the way.
            if is_disposable is not None and is_disposable(bytes(packet)) and not plan.wanted[position]:
                continue
            yield packet
        yield None


class _Packets:
    """A stream's packets by position. Those in between are read past, or sought over where they are many."""

    def __init__(self, video: OpenVideo, scan: Scan) -> None:
        self.video = video
        self.scan = scan
        self.next_position = 0
        self._source = video.packets()

    def between(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Packets first to last, with their positions. To be asked for in rising order."""
        if self.video.held is not None:
            yield from zip(range(first, last + 1), self.video.held[first : last + 1], strict=True)
            return
        self._seek_over(first)
        for packet in self._source:
            position = self.next_position
            self.next_position += 1
            if position >= first:
                yield position, packet
            if position >= last:
                return

    def _seek_over(self, first: int) -> None:
        """Go to the packet at `first`, a key packet, by the container's index, where reading on would take longer.

        An index may be missing or lie: what a seek lands on is told by its time, and read from the beginning if that is
        not known or too late.
        """
        table, ticks, video = self.scan.packets, self.scan.ticks, self.video
        if table is None or ticks is None or first - self.next_position < SEEK_PACKETS:
            return
        with contextlib.suppress(av.error.FFmpegError):
            video.container.seek(int(ticks[table.frames[first]]), stream=video.stream)
            source = video.packets_from_here()
            landed = next(source, None)
            position = None if landed is None or landed.pts is None else self._position_of(landed.pts)
            if position is not None and self.next_position <= position <= first:
                self.next_position = position
                self._source = itertools.chain([landed], source)
                return
        self.next_position = 0
        self._source = video.packets()

    def _position_of(self, tick: int) -> int | None:
        """The one packet of that time; None where there is none, or several."""
        frame = int(np.searchsorted(self.scan.ticks, tick))  # type: ignore[arg-type]  # the caller has looked
        positions = np.flatnonzero(self.scan.packets.frames == frame)  # type: ignore[union-attr]
        known = frame < len(self.scan.ticks) and self.scan.ticks[frame] == tick  # type: ignore[arg-type,index]
        return int(positions[0]) if known and len(positions) == 1 else None


def frame_near(video: OpenVideo, share: float) -> npt.NDArray[np.uint8]:
    """RGB picture, uint8 [H, W, 3], turned as players do, of the key frame before that share (0 to 1) of the video.

    Quick: nothing else is decoded, and no packet table is read; so it is whichever frame the container's index offers,
    the first one where that has none. Raises `Unreadable` where no frame decodes.
    """
    for seconds in (share * _duration_seconds(video), 0.0):
        with contextlib.suppress(av.error.FFmpegError):  # a container that cannot seek is read from where it stands
            start = video.container.start_time or 0
            video.container.seek(start + int(seconds * MICROSECONDS))
        for frame in decoded_frames(video):
            return _as_shown(frame)
    raise Unreadable(
        f"{video.path}: no frame decodes{_why(video)}", allowed="a video that decodes", try_="fetch it again"
    )


def _duration_seconds(video: OpenVideo) -> float:
    """As the header claims; 0 where it says nothing."""
    if video.container.duration:
        return video.container.duration / MICROSECONDS
    return float(video.stream.duration * video.stream.time_base) if video.stream.duration else 0.0


def _as_shown(frame: Any) -> npt.NDArray[np.uint8]:
    turn = 90 * (round(getattr(frame, "rotation", 0) / 90) % 4)
    return PictureReader(turn).of(frame).seen_as(Look("rgb24", apply_rotation=True))


def _why(video: OpenVideo) -> str:
    return f" ({video.logs[-1][2].strip()})" if video.logs else ""


class _WindowBuilder:
    """Collects one plan's frames into windows and its windows into batches."""

    def __init__(self, plan: FramePlan, scan: Scan, batch_bytes: int) -> None:
        self.plan = plan
        self.scan = scan
        self.batch_bytes = batch_bytes
        self.next_window = 0
        self.newest = -1
        self.held: dict[int, npt.NDArray[np.uint8]] = {}
        self.batch: npt.NDArray[np.uint8] | None = None
        self.num_ready = 0
        self._frames = set(plan.frames.tolist())
        # The earliest frame that this window or any later one needs.
        self._needed_from = np.minimum.accumulate(plan.windows[::-1, 0])[::-1]

    def wants(self, index: int) -> bool:
        return index in self._frames

    def add(self, index: int, pixels: npt.NDArray[np.uint8], path: str) -> Iterator[Windows]:
        """Take one wanted frame; yield batches that became full.

        Raises `FramesMissing` where a frame before it never came, and `Unreadable` where the picture size changes.
        """
        if self.held or self.batch is not None:
            shape = next(iter(self.held.values())).shape if self.held else self.batch.shape[2:]  # type: ignore[union-attr]
            if shape != pixels.shape:
                raise Unreadable(
                    f"{path}: the picture size changes from {shape[1]}x{shape[0]} to "
                    f"{pixels.shape[1]}x{pixels.shape[0]} (width x height) at frame {index}",
                    allowed="one picture size throughout",
                    try_="split the video where the size changes",
                )
        self.held[index] = pixels
        self.newest = max(self.newest, index)
        windows = self.plan.windows
        while self.next_window < len(windows) and windows[self.next_window, -1] <= self.newest:
            wanted = windows[self.next_window].tolist()
            lost = [frame for frame in wanted if frame not in self.held]
            if lost and self.newest - lost[0] <= MOST_REORDERED:
                return  # it may come yet
            if lost:
                raise FramesMissing(
                    f"{path}: frame {lost[0]} does not decode",
                    allowed="a video whose sampled frames decode",
                    try_="fetch it again, or re-encode it",
                )
            if self.batch is None:
                self.batch = self._room(pixels)
            for place, frame in enumerate(wanted):
                self.batch[self.num_ready, place] = self.held[frame]
            self.num_ready += 1
            self.next_window += 1
            if self.num_ready == len(self.batch):
                yield self._full()
        if self.next_window < len(windows):
            keep_from = self._needed_from[self.next_window]
            self.held = {frame: pixels for frame, pixels in self.held.items() if frame >= keep_from}
        else:
            self.held.clear()

    def rest(self) -> Iterator[Windows]:
        """The last, partly filled batch."""
        if self.num_ready:
            yield self._full()

    def _room(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Space for a batch of windows of such pictures: as many as `batch_bytes` takes, one at least."""
        left, width = len(self.plan.windows) - self.next_window, self.plan.windows.shape[1]
        count = max(1, min(left, self.batch_bytes // (width * pixels.nbytes)))
        return np.empty((count, width, *pixels.shape), dtype=np.uint8)

    def _full(self) -> Windows:
        count = self.num_ready
        frames = self.plan.windows[self.next_window - count : self.next_window]
        data = self.batch[:count]  # type: ignore[index]  # there is one as soon as a window is ready
        self.batch, self.num_ready = None, 0
        return Windows(data, frames, self.scan.info.pts_seconds[frames], self.plan.look)
