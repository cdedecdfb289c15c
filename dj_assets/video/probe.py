"""Find out what a video is by reading its packets; its header is a claim to be checked.

file object ─format and protocol allow-lists→ container ─demux, no decode→ pts table, key frames, duration
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import numpy as np
import numpy.typing as npt

from dj_assets.errors import MediaError, NoVideoStream, Refused, TooLarge, Unreadable
from dj_assets.frames import PacketDigest, Size, VideoInfo
from dj_assets.video.audio_times import AudioTimes
from dj_assets.video.bitstream import ParameterSets
from dj_assets.video.decode_plan import PacketTable
from dj_assets.video.safe_open import MediaLimits, open_file

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,mxf,rm,ivf,nut,yuv4mpegpipe,"
    "h264,hevc,m4v,av1,obu,dv,swf,wav,mp3,flac,aac"
)
"""Demuxers that read one self-contained file. Playlists, image patterns, concat scripts and devices are not here."""

CLOCK_ROUNDING_SECONDS = 1e-3
"""Matroska and WebM round times to a millisecond; a constant frame rate is recognised through that."""

HELD_BYTES = 32 * 2**20
HELD_PACKETS = 20_000
"""A stream of at most so many is kept in memory from probing to decoding, and so read once."""


@dataclass
class OpenVideo:
    """A checked, opened video: use inside `open_video`. container and stream change with a `restart`."""

    path: str
    container: Any
    stream: Any
    num_bytes: int
    limits: MediaLimits
    logs: list[tuple[int, str, str]]
    file: Any
    threads: int = 1
    held: list[Any] | None = None
    is_at_start: bool = True

    def packets(self) -> Iterator[Any]:
        """Every packet of the stream that holds something, in file order, from the first one on."""
        if self.held is not None:
            yield from self.held
            return
        if not self.is_at_start:
            self.restart()
        yield from self.packets_from_here()

    def packets_and_sound(self, *, all_videos: bool = False) -> Iterator[Any]:
        """Every packet of the stream, read from the file, and those of all audio streams in between; with those of all
        other video streams, cover art included, where asked."""
        if not self.is_at_start:
            self.restart()
        self.is_at_start = False
        streams = self.container.streams
        for packet in self.container.demux(*(streams.video if all_videos else [self.stream]), *streams.audio):
            if packet.size:
                yield packet

    def packets_from_here(self) -> Iterator[Any]:
        """The rest of the packets, from where the container stands."""
        self.is_at_start = False
        for packet in self.container.demux(self.stream):
            if packet.size:
                yield packet

    def close(self) -> None:
        """Close the container; the file stays the caller's."""
        self.held = None
        self.container.close()

    def restart(self) -> None:
        """Read the same file, not the path, from its beginning, with a decoder that has seen nothing."""
        self.container.close()
        self.held = None
        self.file.seek(0)
        self.container = open_container(self.file, self.limits)
        self.stream = _open_stream(self.path, self.container, self.limits, self.threads)
        self.is_at_start = True


@dataclass(frozen=True)
class Scan:
    """What reading the packets found. ticks: pts of each frame in the stream's time base, or None where packets
    carry no times and frames are told apart by their order. packets: None where they and frames do not match.
    is_whole: whether none of them may be left out: some replace what others are decoded by, or hold half a frame."""

    info: VideoInfo
    ticks: npt.NDArray[np.int64] | None
    packets: PacketTable | None = None
    is_whole: bool = False


@contextlib.contextmanager
def open_video(path: str, *, roots: Sequence[Path], limits: MediaLimits, threads: int = 1) -> Iterator[OpenVideo]:
    """Open the first video stream of a file. threads: decoder threads, 1 where many files run side by side.

    Raises every `MediaError` of `open_file`, and `Refused` (format not on the allow-list), `Unreadable`,
    `NoVideoStream`, `TooLarge` (picture).
    """
    with (
        open_file(path, roots=roots, limits=limits) as file,
        _captured_logs() as logs,
        _named_errors(path, logs, limits),
    ):
        container = open_container(file, limits)
        video = None
        try:
            stream = _open_stream(path, container, limits, threads)
            num_bytes = os.fstat(file.fileno()).st_size
            video = OpenVideo(path, container, stream, num_bytes, limits, logs, file, threads)
            _check_picture(video)
            yield video
        finally:
            (video or container).close()


def open_container(file: Any, limits: MediaLimits) -> Any:
    return av.open(
        file,
        mode="r",
        metadata_errors="ignore",
        container_options={"format_whitelist": FORMATS, "protocol_whitelist": "pipe"},
        # Given here, not after opening: FFmpeg decodes a few frames to find the stream's parameters, and a
        # decompression bomb would go off right there.
        options={"max_pixels": str(limits.max_pixels)},
    )


def _open_stream(path: str, container: Any, limits: MediaLimits, threads: int) -> Any:
    stream = _video_stream(path, container)
    context = stream.codec_context
    context.options = {"max_pixels": str(limits.max_pixels)}
    context.thread_count = threads
    if threads == 1:
        context.thread_type = "NONE"
    return stream


def probe(video: OpenVideo, *, hold: bool = False, digest: bool = False) -> Scan:
    """Read every packet of the stream once, without decoding. hold: keep them, if they are few, for decoding.

    digest: whether `VideoInfo.packets` is wanted, for which those of other video streams are read, too.
    Raises `Unreadable` (no packets, truncated) and `TooLarge` (frames).
    """
    _check_truncation(video)
    seen, heard, hashed = _SeenPackets(video, hold), AudioTimes(), _HashedPackets()
    sound = {stream.index for stream in video.container.streams.audio}
    for packet in video.packets_and_sound(all_videos=digest):
        if packet.stream_index in sound:
            heard.add(packet)
            continue
        if digest:
            hashed.add(packet)
        if packet.stream_index == video.stream.index:
            seen.add(packet)
    if not seen.ticks:
        raise Unreadable(
            f"{video.path} holds no video packets",
            allowed="a video with at least one frame",
            try_="fetch it again; it may be cut short",
        )
    video.held = seen.held
    last_duration = seen.last_duration if seen.have_times else 0
    scan = _scan(video, seen.ticks, seen.key_ticks, last_duration, seen.have_times)
    start = min(seen.ticks) * float(video.stream.time_base or 0) if seen.have_times else 0.0
    info = replace(
        scan.info,
        packet_bytes=seen.shown_bytes,
        audio_seconds=heard.seconds_within(start, start + scan.info.duration_seconds),
        packets=hashed.digest() if digest else None,
    )
    return replace(scan, info=info, packets=seen.table(scan.ticks), is_whole=seen.sets_change)


class _HashedPackets:
    """The bytes of every packet of every video stream, as the demuxer interleaves them."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._num_bytes = 0

    def add(self, packet: Any) -> None:
        self._md5.update(packet)
        self._num_bytes += packet.size

    def digest(self) -> PacketDigest:
        return PacketDigest(self._md5.hexdigest(), self._num_bytes)


class _SeenPackets:
    """What is noted of each packet. Those that the container says not to show (edit lists) are decoded only."""

    def __init__(self, video: OpenVideo, hold: bool) -> None:
        self.video = video
        self.have_times = True
        self.last_duration = 0
        self.shown_bytes = 0
        self.ticks: list[int] = []
        self.key_ticks: list[int] = []
        self.held: list[Any] | None = [] if hold else None
        self._all_ticks: list[int] = []
        self._are_shown: list[bool] = []
        self._are_keys: list[bool] = []
        self._sizes: list[int] = []
        self._held_bytes = 0
        context = video.stream.codec_context
        self._sets = ParameterSets(context.name, context.extradata or b"")
        self._has_new_extradata = False

    @property
    def sets_change(self) -> bool:
        return self._sets.change or self._has_new_extradata

    def add(self, packet: Any) -> None:
        is_shown = not packet.is_discard
        if is_shown:
            self._note_times(packet)
            self.shown_bytes += packet.size
        self._all_ticks.append(packet.pts if packet.pts is not None else 0)
        self._are_shown.append(is_shown)
        self._are_keys.append(packet.is_keyframe)
        self._sizes.append(packet.size)
        self._sets.see(bytes(packet))
        self._has_new_extradata |= packet.has_sidedata("new_extradata")
        if self.held is not None:
            self.held.append(packet)
            self._held_bytes += packet.size
            if self._held_bytes > HELD_BYTES or len(self.held) > HELD_PACKETS:
                self.held = None

    def _note_times(self, packet: Any) -> None:
        limit = self.video.limits.max_frames
        if len(self.ticks) >= limit:
            raise TooLarge(
                f"{self.video.path} has more than {limit} frames",
                allowed=f"at most {limit} frames",
                try_="raise dj_assets: limits: max_frames, or split the video",
            )
        tick = packet.pts
        if tick is None:
            self.have_times = False
            tick = len(self.ticks)
        if not self.ticks or tick >= self.ticks[-1]:
            self.last_duration = packet.duration or 0
        self.ticks.append(tick)
        if packet.is_keyframe:
            self.key_ticks.append(tick)

    def table(self, ticks: npt.NDArray[np.int64] | None) -> PacketTable | None:
        """The packets by their pictures' places in `ticks`; None where they carry no times."""
        if ticks is None:
            return None
        frames = np.searchsorted(ticks, np.array(self._all_ticks, dtype=np.int64))
        frames[~np.array(self._are_shown)] = -1
        return PacketTable(frames, np.array(self._are_keys), np.array(self._sizes, dtype=np.int64))


def rescan_by_decoding(video: OpenVideo) -> Scan:
    """The same from decoded frames: for the odd stream whose packets and frames do not match one to one."""
    ticks: list[int] = []
    for frame in decoded_frames(video):
        if frame.pts is None:
            raise Unreadable(f"{video.path}: frames carry no times", try_="remux it with ffmpeg -i IN -c copy OUT.mp4")
        ticks.append(frame.pts)
    if not ticks:
        raise Unreadable(f"{video.path}: no frame decodes", allowed="a video that decodes", try_="fetch it again")
    return _scan(video, ticks, [], 0, True)


def decoded_frames(video: OpenVideo) -> Iterator[Any]:
    """Every frame that decodes, in display order, from where the container stands; packets that fail are left out, as
    players do."""
    for packet in video.packets_from_here():
        yield from decoded(video, packet)
    yield from decoded(video, None)


def decoded(video: OpenVideo, packet: Any | None) -> list[Any]:
    """What the decoder gives for one more packet, none if that fails; for None, what it still holds."""
    try:
        return video.stream.codec_context.decode(None) if packet is None else packet.decode()
    except MemoryError:
        raise
    except (av.error.InvalidDataError, av.error.UndefinedError, av.error.ArgumentError):
        _check_picture_log(video.path, video.logs, video.limits)
        return []
    except av.error.EOFError:  # emptied already
        return []


def _scan(
    video: OpenVideo, ticks: Sequence[int], key_ticks: Sequence[int], last_duration: int, have_times: bool
) -> Scan:
    stream = video.stream
    time_base = stream.time_base if have_times and stream.time_base else Fraction(0)
    unique = np.unique(np.asarray(ticks, dtype=np.int64))
    keyframes = np.searchsorted(unique, np.unique(np.asarray(key_ticks, dtype=np.int64)))
    relative = ((unique - unique[0]) * float(time_base)).astype(np.float64)
    rate = _frame_rate(stream, relative, float(time_base))
    num_frames = len(unique)
    on_grid = (np.arange(num_frames) * (rate.denominator / rate.numerator)).astype(np.float64)
    frame_seconds = 1 / float(rate)
    last_seconds = last_duration * float(time_base) or frame_seconds
    rounding = max(float(time_base), CLOCK_ROUNDING_SECONDS)
    seconds: npt.NDArray[np.float64]
    constant = not have_times or bool(np.all(np.abs(relative - on_grid) <= rounding))
    if constant and abs(last_seconds - frame_seconds) <= rounding:
        # The exact grid, so that the same pictures give the same plan in every container.
        seconds, duration = on_grid, num_frames / float(rate)
    elif constant:
        seconds, duration = on_grid, float(on_grid[-1]) + last_seconds
    else:
        seconds, duration = relative, float(relative[-1]) + last_seconds
    context = stream.codec_context
    info = VideoInfo(
        size=Size(context.height, context.width),
        fps=float(rate),
        duration_seconds=duration,
        pts_seconds=seconds,
        keyframes=keyframes,
        num_frames_from_header=stream.frames or None,
        duration_seconds_from_header=float(stream.duration * time_base) if stream.duration else None,
        codec=context.name,
        container=video.container.format.name,
        pixel_format=context.pix_fmt or "",
        has_audio=bool(video.container.streams.audio),
    )
    return Scan(info, unique if have_times else None)


def _frame_rate(stream: Any, relative: npt.NDArray[np.float64], time_base: float) -> Fraction:
    """What OpenCV reports as fps, so that Data-Juicer's sampling step is met; else from the times; else 25."""
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate:
            return Fraction(rate)
    if time_base and len(relative) > 1 and relative[-1] > 0:
        return Fraction((len(relative) - 1) / float(relative[-1])).limit_denominator(1001)
    return Fraction(25)


def _video_stream(path: str, container: Any) -> Any:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise NoVideoStream(
        f"{path} has no moving pictures, only {', '.join(kinds) or 'no streams'}",
        allowed="a file with a video stream",
        try_="remove the line, or list it under audios",
    )


def _check_picture(video: OpenVideo) -> None:
    context = video.stream.codec_context
    if context.width * context.height > video.limits.max_pixels:
        raise _too_many_pixels(video.path, f"{context.width}x{context.height}", video.limits)
    if not context.width or not context.height:
        _check_picture_log(video.path, video.logs, video.limits)
        raise Unreadable(
            f"{video.path}: the size of its pictures cannot be found{_last_log(video.logs)}",
            allowed="a video that decodes",
            try_="fetch it again, or re-encode it",
        )


def _check_picture_log(path: str, logs: Sequence[tuple[int, str, str]], limits: MediaLimits) -> None:
    for _, _, message in logs:
        if "max pixel count" in message:
            size = message.removeprefix("Picture size ").split(" ")[0]
            raise _too_many_pixels(path, size, limits)


def _too_many_pixels(path: str, size: str, limits: MediaLimits) -> TooLarge:
    return TooLarge(
        f"{path}: pictures of {size} (width x height)",
        allowed=f"at most {limits.max_pixels} pixels a picture",
        try_="raise dj_assets: limits: max_pixels, if memory allows",
    )


def _check_truncation(video: OpenVideo) -> None:
    """A download that stopped half-way still opens when its index comes first; the index tells."""
    end = max((entry.pos + entry.size for entry in video.stream.index_entries), default=0)
    if end > video.num_bytes:
        raise Unreadable(
            f"{video.path} is truncated: its index promises {end} bytes, it has {video.num_bytes}",
            allowed="a whole file",
            try_="fetch it again",
        )


@contextlib.contextmanager
def _captured_logs() -> Iterator[list[tuple[int, str, str]]]:
    """FFmpeg's error lines of this thread: they hold the reasons that its error codes lose."""
    before, skipped_before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # the second file to fail in the same way has the same reason
    try:
        with av.logging.Capture(local=True) as logs:
            yield logs
    finally:
        av.logging.set_level(before)
        av.logging.set_skip_repeated(skipped_before)


@contextlib.contextmanager
def _named_errors(path: str, logs: list[tuple[int, str, str]], limits: MediaLimits) -> Iterator[None]:
    try:
        yield
    except MediaError:
        raise
    except MemoryError as error:
        raise TooLarge(
            f"{path}: out of memory while decoding ({error})",
            allowed="what fits into a worker",
            try_="raise dj_assets: limits: memory_mb",
        ) from None
    except (av.error.FFmpegError, OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        if not isinstance(error, av.error.FFmpegError) and not _raised_by_av(error):
            raise
        _check_picture_log(path, logs, limits)
        if any("not on whitelist" in message for _, _, message in logs) or "whitelist" in str(error):
            raise Refused(
                f"{path} is not a plain video file but a script or playlist ({_format_in(logs)})",
                allowed="self-contained video files",
                try_="list the files that it names",
            ) from None
        raise Unreadable(
            f"{path}: {getattr(error, 'strerror', None) or error}{_last_log(logs)}",
            allowed="a video that FFmpeg can read",
            try_="fetch it again, or re-encode it",
        ) from None


def _raised_by_av(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # Cython names the sources of PyAV relative to the package.
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith("av/")


def _format_in(logs: Sequence[tuple[int, str, str]]) -> str:
    return next((name for _, name, message in logs if "whitelist" in message), "unknown")


def _last_log(logs: Sequence[tuple[int, str, str]]) -> str:
    return f" ({logs[-1][2].strip()})" if logs else ""
