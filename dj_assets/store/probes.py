"""What each video is, by its packets: size, rate, duration, codec. Kept like a fact, shown in the view `videos`.

A probe is no measure of a recipe: no step asks for it, and no verdict rests on it. It lies in the facts log all the
same, since it follows from the bytes, is added by many processes at once, and wants to be compacted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dj_assets.store import facts as facts_log
from dj_assets.store.rows import Fact, Provenance

OPERATOR = "probe"
MEASURE_ID = "probe-1"
"""Another one when the columns below change their meaning."""

STAT = "video_stream"

COLUMNS: dict[str, tuple[str, str]] = {
    "width": ("BIGINT", "pixels, as coded; NULL, like all that follows, where no pass has opened the video"),
    "height": ("BIGINT", "pixels, as coded"),
    "duration_seconds": ("DOUBLE", "from the first frame's start to the last one's end"),
    "fps": ("DOUBLE", "frames per second"),
    "num_frames": ("BIGINT", "pictures, counted from the packets"),
    "num_keyframes": ("BIGINT", "those that decode alone"),
    "rotation_degrees": ("BIGINT", "counter-clockwise turn that a player applies, where the header tells"),
    "codec": ("VARCHAR", "FFmpeg's name of it"),
    "container": ("VARCHAR", "FFmpeg's name of it"),
    "pixel_format": ("VARCHAR", "FFmpeg's name of it"),
    "has_audio": ("BOOLEAN", "whether there is an audio stream"),
}
"""Name -> SQL type and meaning."""


def find(root: Path, content_hashes: Collection[str]) -> dict[str, dict[str, Any]]:
    """What is known of these videos: content hash -> value by column name."""
    found = facts_log.find(root, OPERATOR, MEASURE_ID, content_hashes)
    return {content_hash: json.loads(facts[0].window_details[0]) for content_hash, facts in found.items()}


def append(root: Path, found: Mapping[str, Mapping[str, Any]], measured_at: str, provenance: Provenance) -> list[Path]:
    """Add what the probes of some videos found: content hash -> value by column name. Raises `StoreError`."""
    facts = [
        Fact(
            content_hash=content_hash,
            operator=OPERATOR,
            measure_id=MEASURE_ID,
            stat=STAT,
            value=probe["duration_seconds"],
            window_details=(json.dumps(probe),),
            measured_at=measured_at,
        )
        for content_hash, probe in found.items()
    ]
    return facts_log.append(root, facts, provenance)


def stream_line(probe: Mapping[str, Any]) -> str:
    """What a video is, in one line. probe: values by column name.

    `video 640x360, 11.75 s, 294 frames at 25 per second, h264 (yuv420p) in mov,mp4, with audio`
    """
    turned = f", turned by {probe['rotation_degrees']} degrees" if probe["rotation_degrees"] else ""
    audio = "with audio" if probe["has_audio"] else "without audio"
    return (
        f"video {probe['width']}x{probe['height']}{turned}, {probe['duration_seconds']:.6g} s, {probe['num_frames']} "
        f"frames at {probe['fps']:.6g} per second, {probe['codec']} ({probe['pixel_format']}) in {probe['container']}, "
        f"{audio}"
    )
