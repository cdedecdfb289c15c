"""Merged plans, one sequential pass: decode a video once and hand every operator the windows it asked for.

Frames come in display order and are kept only while a later window of some plan still needs them, so memory is bounded
by the widest window and one batch per plan, whatever the video's length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt

from dj_assets.errors import Unreadable
from dj_assets.frames import FramePlan, Look, Windows
from dj_assets.video.probe import OpenVideo, Scan, decoded_frames

BATCH_BYTES = 64 * 2**20
"""Pictures handed over at once. Large enough to fill a model's batch, small beside a worker's memory."""


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
    skip_between: bool = False,
) -> Iterator[tuple[int, Windows]]:
    """Decode once, in order; yield (plan number, batch of its windows) as batches fill.

    The windows of one plan come in its order. skip_between: go from key frame to key frame where nothing between is
    wanted, which is quick for a few frames of a long video, and slow for many. Raises `FramesMissing` when the stream
    ends before every wanted frame has come (with `skip_between`, also where its key frames are not what they seem), and
    `Unreadable` when the picture size changes on the way.
    """
    builders = [_WindowBuilder(plan, scan, batch_bytes) for plan in plans]
    wanted = np.unique(np.concatenate([plan.frames for plan in plans])) if plans else np.zeros(0, dtype=np.int64)
    missing = set(wanted.tolist())
    if missing:
        last = int(wanted[-1])
        frames = _near_key_frames(video, scan, wanted) if skip_between else _indexed(video, scan)
        for index, frame in frames:
            if index not in missing:
                continue
            missing.discard(index)
            pictures: dict[Look, npt.NDArray[np.uint8]] = {}
            for number, builder in enumerate(builders):
                if not builder.wants(index):
                    continue
                look = builder.plan.look
                if look not in pictures:
                    pictures[look] = picture(frame, look, scan.info.rotation_degrees)
                for windows in builder.add(index, pictures[look], video.path):
                    yield number, windows
            if index >= last:
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


def picture(frame: Any, look: Look, rotation_degrees: int = 0) -> npt.NDArray[np.uint8]:
    """A decoded frame as an operator wants it: uint8 [H, W] for gray8, else [H, W, 3].

    Goes through FFmpeg's bgr24 or rgb24 and OpenCV's area resize and grey, as Data-Juicer does, since other routes
    to the same picture (the Y plane, say) move scores by percents.
    """
    base = "rgb24" if look.pixel_format == "rgb24" else "bgr24"
    pixels = frame.to_ndarray(format=base)
    if look.apply_rotation and rotation_degrees:
        pixels = np.ascontiguousarray(np.rot90(pixels, rotation_degrees // 90))
    if look.size is None and look.pixel_format != "gray8":
        return pixels
    import cv2

    if look.size is not None and look.size != pixels.shape[:2]:
        # OpenCV takes (width, height).
        pixels = cv2.resize(pixels, (look.size.width, look.size.height), interpolation=cv2.INTER_AREA)
    if look.pixel_format == "gray8":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return pixels


def _indexed(video: OpenVideo, scan: Scan) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their index in the pts table; frames that the table does not know are left out."""
    if scan.ticks is None:
        yield from enumerate(decoded_frames(video))
        return
    index_of = {int(tick): index for index, tick in enumerate(scan.ticks)}
    for frame in decoded_frames(video):
        index = index_of.get(frame.pts)
        if index is not None:
            yield index, frame


def _near_key_frames(video: OpenVideo, scan: Scan, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their index, of those stretches alone that begin at a key frame and have a wanted frame.

    Ends early where a seek lands behind what is wanted or on no key frame; the caller finds frames missing then.
    """
    keys = scan.info.keyframes
    if scan.ticks is None or not len(keys):
        yield from _indexed(video, scan)
        return
    starts = keys[np.maximum(np.searchsorted(keys, wanted, side="right") - 1, 0)]
    for start in np.unique(starts).tolist():
        last = int(wanted[starts == start][-1])
        tick = int(scan.ticks[start])
        if not _lands_on_key_frame(video, tick):
            return
        video.container.seek(tick, stream=video.stream)
        for index, frame in _indexed(video, scan):
            yield index, frame
            if index >= last:
                break


def _lands_on_key_frame(video: OpenVideo, tick: int) -> bool:
    """Whether reading goes on at a key frame, not after the tick, once that was sought.

    MPEG-TS has no index: a seek may land on any packet, and MPEG-4 Part 2 decodes from there to broken pictures.
    """
    video.container.seek(tick, stream=video.stream)
    packets = (packet for packet in video.container.demux(video.stream) if packet.size and not packet.is_discard)
    landed = next(packets, None)
    return landed is not None and landed.is_keyframe and landed.pts is not None and landed.pts <= tick


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
    return picture(frame, Look("rgb24", apply_rotation=True), turn)


def _why(video: OpenVideo) -> str:
    return f" ({video.logs[-1][2].strip()})" if video.logs else ""


class _WindowBuilder:
    """Collects one plan's frames into windows and its windows into batches."""

    def __init__(self, plan: FramePlan, scan: Scan, batch_bytes: int) -> None:
        self.plan = plan
        self.scan = scan
        self.batch_bytes = batch_bytes
        self.next_window = 0
        self.held: dict[int, npt.NDArray[np.uint8]] = {}
        self.ready: list[npt.NDArray[np.uint8]] = []
        self._frames = set(plan.frames.tolist())
        # The earliest frame that this window or any later one needs.
        self._needed_from = np.minimum.accumulate(plan.windows[::-1, 0])[::-1]

    def wants(self, index: int) -> bool:
        return index in self._frames

    def add(self, index: int, pixels: npt.NDArray[np.uint8], path: str) -> Iterator[Windows]:
        """Take one wanted frame; yield batches that became full.

        Raises `FramesMissing` where a frame before it never came, and `Unreadable` where the picture size changes.
        """
        if self.held or self.ready:
            shape = next(iter(self.held.values())).shape if self.held else self.ready[0].shape[1:]
            if shape != pixels.shape:
                raise Unreadable(
                    f"{path}: the picture size changes from {shape[1]}x{shape[0]} to "
                    f"{pixels.shape[1]}x{pixels.shape[0]} (width x height) at frame {index}",
                    allowed="one picture size throughout",
                    try_="split the video where the size changes",
                )
        self.held[index] = pixels
        windows = self.plan.windows
        while self.next_window < len(windows) and windows[self.next_window, -1] <= index:
            wanted = windows[self.next_window].tolist()
            lost = [frame for frame in wanted if frame not in self.held]
            if lost:
                raise FramesMissing(
                    f"{path}: frame {lost[0]} does not decode",
                    allowed="a video whose sampled frames decode",
                    try_="fetch it again, or re-encode it",
                )
            self.ready.append(np.stack([self.held[frame] for frame in wanted]))
            self.next_window += 1
            if sum(window.nbytes for window in self.ready) >= self.batch_bytes:
                yield self._batch()
        if self.next_window < len(windows):
            keep_from = self._needed_from[self.next_window]
            self.held = {frame: pixels for frame, pixels in self.held.items() if frame >= keep_from}
        else:
            self.held.clear()

    def rest(self) -> Iterator[Windows]:
        """The last, partly filled batch."""
        if self.ready:
            yield self._batch()

    def _batch(self) -> Windows:
        count = len(self.ready)
        frames = self.plan.windows[self.next_window - count : self.next_window]
        data = np.stack(self.ready)
        self.ready = []
        return Windows(data, frames, self.scan.info.pts_seconds[frames], self.plan.look)
