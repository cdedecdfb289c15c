"""Sixty made clips, six of them broken in ways that are stated here, and one line that is no sample.

good_00 … good_53   18 to 35 frames at 12 fps in four sizes; number % 4 pixels of shift a frame
the rest            BROKEN
"""

from __future__ import annotations

import json
from pathlib import Path

from dj_assets_tests.videos import cut_short, shifting, texture, write_audio, write_video

FPS = 12
SIZES = ((96, 128), (128, 96), (64, 64), (144, 256))
"""(height, width)."""

HOSTILE = "<img src=x onerror=alert(1)>.mp4"

BROKEN = {
    "cut.mp4": "unreadable",
    "empty.mp4": "unreadable",
    "text.mp4": "unreadable",
    "sound.mp4": "no_video_stream",
    HOSTILE: "missing",
    "one_frame.mp4": "too_short",
}
"""Name → why its motion cannot be measured. Length and size of the last one can."""

RECIPE = """\
dataset_path: ds.jsonl
export_path: out/res.jsonl
percentiles: [0.1, 0.9]
process:
  - video_duration_filter: {min_duration: 2.0}
  - video_resolution_filter: {min_width: 65}
  - video_aspect_ratio_filter: {}
  - video_motion_score_filter: {min_score: 0.5}
"""


def num_frames(number: int) -> int:
    """Of clip `number`."""
    return 18 + number % 18


def size(number: int) -> tuple[int, int]:
    """(height, width) of clip `number`."""
    return SIZES[number % len(SIZES)]


def seconds(number: int) -> float:
    return num_frames(number) / FPS


def write_project(folder: Path) -> None:
    """`recipes/sixty.yaml` over `ds.jsonl` and `vids/` in a folder."""
    videos = folder / "vids"
    videos.mkdir(parents=True)
    names = []
    for number in range(54):
        height, width = size(number)
        names.append(f"good_{number:02d}.mp4")
        picture = texture(height=height, width=width, seed=number)
        frames = shifting(picture, num_frames=num_frames(number), pixels_per_frame=number % 4)
        write_video(videos / names[-1], frames, fps=FPS, options={"preset": "ultrafast"})
    cut_short(videos / "good_53.mp4", videos / "cut.mp4")
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("this is no video\n")
    write_audio(videos / "sound.mp4")
    write_video(videos / "one_frame.mp4", [texture(height=96, width=128, seed=99)], fps=FPS)
    lines = [json.dumps({"text": "a clip", "videos": [f"vids/{name}"]}) for name in (*names, *BROKEN)]
    (folder / "ds.jsonl").write_text("\n".join([*lines, '{"text": ']) + "\n", encoding="utf-8")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "sixty.yaml").write_text(RECIPE)
