"""Peak memory of a worker that measures motion, by the length of a 1080p clip: `python -m benchmarks.memory`.

Clips of 1, 5 and 30 minutes are made in a minute: 20 s are encoded, and their packets are repeated with later times.
Each is measured in a new process by what a worker does for a task. The default rate of two frames a second takes about
half an hour of one core for the longest; `--sampling-fps 0.2` takes minutes, and decodes just as much.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import contest, corpus, tables
from benchmarks.contest import Answer

MOTION = "video_motion_score_filter"
BOUND_MB = 500
MINUTES = (1, 5, 30)
QUICK_MINUTES = (1, 3)
LOOP = corpus.Clip(
    number=0, size="1080p", variant="h264-b", keyint=250, fps=25, seconds=20.0, content="moving text", speed=2
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 and 3 minutes, 0.1 frames a second")
    parser.add_argument("--sampling-fps", type=float, default=2.0, help="frames a second to compare (default 2)")
    parser.add_argument("--minutes", type=int, nargs="+", help="other lengths")
    given = parser.parse_args()
    rate = 0.1 if given.quick else given.sampling_fps
    minutes: Sequence[int] = given.minutes or (QUICK_MINUTES if given.quick else MINUTES)
    clips = {length: long_clip(length) for length in minutes}
    rows = []
    peaks = []
    for length, path in clips.items():
        answer = measure(path, rate)
        peaks.append(answer.peak_mb)
        rows.append(_row(length, path, answer))
        print(f"  {length} min: {answer.peak_mb:.0f} MB, {answer.wall_seconds:.0f} s", flush=True)
    headings = ["minutes", "frames", "file, MB", "peak memory, MB", *tables.COST_HEADINGS[:4]]
    most = max(peaks)
    parts = [
        tables.machine(),
        f"1920x1080, 25 frames a second, H.264 with B-frames, a key frame every 250; `{MOTION}` with `sampling_fps: "
        f"{rate:g}`. Peak memory is the highest resident size of a process that measures this one clip and nothing "
        "else, Python and libraries included.",
        tables.markdown(headings, rows),
        f"The highest is {most:.0f} MB, {'under' if most < BOUND_MB else 'NOT under'} {BOUND_MB}; the longest clip "
        f"takes {peaks[-1] - peaks[0]:+.0f} MB against the shortest.",
    ]
    tables.publish("memory", parts, quick=given.quick)


def measure(path: Path, rate: float) -> Answer:
    """In a process of its own. Raises RuntimeError where it gives no number."""
    with contest.running("ours", environment={"DJ_ASSETS_DEVICE": "cpu"}) as one:
        answer = one.ask("measure", path=str(path), process=[{MOTION: {"sampling_fps": rate}}])
    if answer.value["values"][MOTION] is None:
        raise RuntimeError(f"{path} was not measured: {answer.value['reasons']}")
    return answer


def _row(minutes: int, path: Path, answer: Answer) -> list[str]:
    seconds = 60.0 * minutes
    cells = tables.cost_cells(
        clips=1,
        video_seconds=seconds,
        cpu_seconds=answer.cpu_seconds,
        wall_seconds=answer.wall_seconds,
        peak_process_mb=None,
        peak_tree_mb=None,
    )
    megabytes = path.stat().st_size / 2**20
    return [str(minutes), f"{seconds * LOOP.fps:.0f}", f"{megabytes:.0f}", f"{answer.peak_mb:.0f}", *cells[:4]]


def long_clip(minutes: int) -> Path:
    """A file in the corpus' folder, made once from one encoded loop. Raises ValueError unless it is whole."""
    path = corpus.FOLDER / f"long-{minutes}min.mp4"
    if not path.exists():
        corpus.FOLDER.mkdir(parents=True, exist_ok=True)
        loop = corpus.FOLDER / "long-loop.mp4"
        if not loop.exists():
            partial = loop.with_suffix(".part.mp4")
            corpus.encode(LOOP, corpus.frames(LOOP, None), partial)
            partial.replace(loop)
        partial = path.with_suffix(".part.mp4")
        _repeat(loop, partial, times=round(60 * minutes / LOOP.seconds))
        _check(partial, minutes)
        partial.replace(path)
    return path


def _repeat(loop: Path, path: Path, *, times: int) -> None:
    """The loop's packets, `times` over, each round as much later as the loop is long."""
    import av

    with av.open(str(loop)) as reader, av.open(str(path), "w") as writer:
        source = reader.streams.video[0]
        stream = writer.add_stream_from_template(source)
        length = round(LOOP.seconds / source.time_base)
        for turn in range(times):
            reader.seek(0, stream=source)
            for packet in reader.demux(source):
                if packet.dts is None:
                    continue
                packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                packet.stream = stream
                writer.mux(packet)


def _check(path: Path, minutes: int) -> None:
    """Whole, with as many frames and key frames as it should have, and a last stretch that decodes."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        wanted = round(60 * minutes * LOOP.fps)
        keys = sum(packet.is_keyframe for packet in packets)
        if len(packets) != wanted or keys != wanted // LOOP.keyint:
            raise ValueError(f"{path}: {len(packets)} packets and {keys} key frames, expected {wanted} packets")
        container.seek(round((60 * minutes - 1) / stream.time_base), stream=stream)
        last = max(frame.time for frame in container.decode(stream))
        if abs(last - (60 * minutes - 1 / LOOP.fps)) > 1e-3:
            raise ValueError(f"{path}: the last frame is at {last} s")


if __name__ == "__main__":
    main()
