"""The clips of upstream's own tests: the tutorial's two, and stand-ins that reproduce a condition of the third.

video1 640x360, 282 frames; video2 480x640, 556 frames; video3 362x640 (width x height), 1190 frames; all at 24 fps.
video3 cannot be had, and not every checkout has the other two; where a test asks only for a size or a length, flat
pictures of that size and length do.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from dj_assets_tests import videos

FPS = 24
SIZES = {"v1": (360, 640), "v2": (640, 480), "v3": (640, 362)}
"""(height, width)."""
NUM_FRAMES = {"v1": 282, "v2": 556, "v3": 1190}
KEY_FRAME_EVERY = 200
"""Of the stand-in for video3: 6 key frames, as many as that has, the last 8 s before its end."""
ADAPTIVE_CUTS = (103, 264, 675, 698, 1060, 1091, 1123)
"""Where PySceneDetect's AdaptiveDetector cuts video3."""


def flat(
    path: Path, name: str, *, num_frames: int | None = None, height: int | None = None, width: int | None = None
) -> Path:
    """A grey clip with the size and the length of video1, 2 or 3, unless stated."""
    count = NUM_FRAMES[name] if num_frames is None else num_frames
    picture = np.full((height or SIZES[name][0], width or SIZES[name][1], 3), 60 * int(name[1]), dtype=np.uint8)
    options = {"preset": "ultrafast", "g": str(KEY_FRAME_EVERY), "sc_threshold": "0"}
    return videos.write_video(path, [picture] * count, fps=FPS, options=options)


def slow(path: Path) -> Path:
    """As video3, moves by less than 1.5 px in half a second, but not by less than 0.25: one pixel."""
    height, width = SIZES["v3"]
    picture = videos.texture(height=height, width=width, seed=3)
    frames = [np.roll(picture, index // 12, axis=1) for index in range(48)]
    return videos.write_video(path, frames, fps=FPS, options={"preset": "ultrafast", "qp": "10"})


def with_some_text(path: Path) -> Path:
    """As video3, text covers between 0.07 and 0.1 of the picture, as CRAFT sees it."""
    import cv2

    height, width = SIZES["v3"]
    picture = np.full((height, width, 3), 90, dtype=np.uint8)
    for line, words in enumerate(("WHAT CAN BE READ", "ON EVERY FRAME", "OF THIS CLIP")):
        cv2.putText(picture, words, (24, 200 + 60 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255, 255, 255), 2)
    return videos.write_video(path, [picture] * 4, fps=FPS, options={"preset": "ultrafast", "qp": "10"})


def with_cuts(path: Path, *cuts: int) -> Path:
    """As long as video3 and small, another still picture from each of these frames on."""
    bounds = [0, *cuts, NUM_FRAMES["v3"]]
    frames: list[videos.Picture] = []
    for seed, (first, stop) in enumerate(pairwise(bounds)):
        rng = np.random.default_rng(seed)
        colours = rng.integers(30, 226, (4, 4, 3), dtype=np.uint8)
        frames += [np.kron(colours, np.ones((24, 24, 1), dtype=np.uint8))] * (stop - first)
    return videos.write_video(path, frames, fps=FPS, options={"preset": "ultrafast"})
