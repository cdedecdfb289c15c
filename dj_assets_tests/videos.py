"""Test videos made in code, the truth in the function's arguments. No binaries in git.

frames = shifting(texture(height=96, width=128), num_frames=24, pixels_per_frame=2)
write_video(tmp_path / "moving.mp4", frames, fps=24)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

CODECS = {
    "h264": ("libx264", ".mp4", {"bf": "3"}),
    "h264_no_b": ("libx264", ".mp4", {"bf": "0"}),
    "h264_pyramid_ts": ("libx264", ".ts", {"bf": "3", "x264-params": "b-pyramid=normal:open-gop=1"}),
    "h264_intra_refresh": ("libx264", ".ts", {"x264-params": "intra-refresh=1"}),
    "hevc": ("libx265", ".mp4", {"x265-params": "log-level=none"}),
    "hevc_ts": ("libx265", ".ts", {"x265-params": "log-level=none:temporal-layers=3:bframes=4"}),
    "vp8": ("libvpx", ".webm", {"cpu-used": "8", "deadline": "realtime"}),
    "vp9": ("libvpx-vp9", ".webm", {"cpu-used": "8", "lag-in-frames": "16", "auto-alt-ref": "1"}),
    "av1": ("libsvtav1", ".mkv", {"preset": "12"}),
    "av1_mp4": ("libsvtav1", ".mp4", {"preset": "8"}),
    "mpeg4": ("mpeg4", ".avi", {"bf": "2"}),
    "mpeg2": ("mpeg2video", ".mpg", {"bf": "2"}),
}
"""name -> encoder, suffix of the container, options: what a decoder may be given."""

LOSSLESS = {"libx264": {"qp": "0", "preset": "ultrafast"}, "libvpx-vp9": {"lossless": "1", "cpu-used": "8"}}


def texture(*, height: int, width: int, seed: int = 0) -> Picture:
    """A smooth random RGB picture that tiles, uint8 [height, width, 3]: enough structure for optical flow."""
    import cv2

    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width)).astype(np.float32)
    blurred = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 4)[height : 2 * height, width : 2 * width]
    grey = np.clip(128 + 55 * blurred / blurred.std(), 16, 235)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def shifting(picture: Picture, *, num_frames: int, pixels_per_frame: int) -> list[Picture]:
    """The picture moving to the right, wrapped round: every pixel moves by pixels_per_frame."""
    return [np.roll(picture, index * pixels_per_frame, axis=1) for index in range(num_frames)]


def numbered(*, num_frames: int, height: int = 64, width: int = 64) -> list[Picture]:
    """Frames that say which they are: frame k is flat grey of 8 * k + 16 (k < 28)."""
    return [np.full((height, width, 3), 8 * index + 16, dtype=np.uint8) for index in range(num_frames)]


def write_video(
    path: Path,
    frames: Iterable[Picture],
    *,
    fps: int = 24,
    codec: str = "libx264",
    lossless: bool = False,
    options: dict[str, str] | None = None,
    rotation_degrees: int = 0,
    pts: Sequence[int] | None = None,
    with_audio: bool = False,
) -> Path:
    """Encode RGB frames. The container follows the suffix. pts: frame times in 1/fps, for variable frame rates."""
    with usual_scheduling():
        return _write_video(path, list(frames), fps, codec, lossless, options, rotation_degrees, pts, with_audio)


@contextmanager
def usual_scheduling() -> Iterator[None]:
    """Gives back what SVT-AV1 takes: as root it puts the thread that opens it above all others (SCHED_FIFO, 99).

    Every process started later has that, too, and browsers, web servers and workers then starve each other.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


def _write_video(
    path: Path,
    frames: Sequence[Picture],
    fps: int,
    codec: str,
    lossless: bool,
    options: dict[str, str] | None,
    rotation_degrees: int,
    pts: Sequence[int] | None,
    with_audio: bool,
) -> Path:
    import av

    height, width = frames[0].shape[:2]
    chosen = dict(LOSSLESS.get(codec, {}) if lossless else {})
    chosen.update(options or {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=chosen)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if rotation_degrees:
            stream.set_display_rotation(rotation_degrees)
        if with_audio:
            _add_tone(container, seconds=len(frames) / fps)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = pts[index] if pts is not None else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio(path: Path, *, seconds: float = 0.5) -> Path:
    """A file with sound and no pictures."""
    import av

    with av.open(str(path), "w") as container:
        _add_tone(container, seconds=seconds)
    return path


def _add_tone(container: object, *, seconds: float) -> None:
    import av

    stream = container.add_stream("aac", rate=16_000, layout="mono")  # type: ignore[attr-defined]
    wave = (0.2 * np.sin(np.arange(int(16_000 * seconds)) / 8)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
    frame.sample_rate = 16_000
    frame.pts = 0
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=16_000, frame_size=1024)
    for piece in resampler.resample(frame):
        container.mux(stream.encode(piece))  # type: ignore[attr-defined]
    container.mux(stream.encode())  # type: ignore[attr-defined]


def remux(source: Path, target: Path, *, options: dict[str, str] | None = None) -> Path:
    """The same packets in another container."""
    import av

    with av.open(str(source)) as reader, av.open(str(target), "w", options=options or {}) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(reader.streams.video[0]):
            if packet.dts is None:
                continue
            packet.stream = stream
            writer.mux(packet)
    return target


def cut_short(source: Path, target: Path, *, share: float = 0.5) -> Path:
    """The first part of a file's bytes, as a download that broke off."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def blank_packet(source: Path, target: Path, *, index: int) -> Path:
    """The same file with zeros for one of its video packets, as after a fault on a disk. The container needs places."""
    import av

    with av.open(str(source)) as reader:
        packets = [packet for packet in reader.demux(reader.streams.video[0]) if packet.size]
        begin, size = packets[index].pos, packets[index].size
    data = bytearray(source.read_bytes())
    data[begin : begin + size] = bytes(size)
    target.write_bytes(data)
    return target


def decompression_bomb(path: Path) -> Path:
    """A few dozen KB that decode to one picture of 16384 x 8192 (width x height)."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 16384, 8192, "yuv420p"
        frame = av.VideoFrame(16384, 8192, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
