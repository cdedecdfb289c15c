"""The frames that Data-Juicer's samplers give, straight from PyAV: for tests that compute a score a second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dj_assets_tests import videos


def clip(path: Path, *, num_frames: int = 10, every: int = 4, seed: int = 0, height: int = 40, width: int = 56) -> Path:
    """A video of unlike pictures with a key frame every few frames, lossless."""
    from dj_assets_tests.operators.tiny_models import picture

    frames = [picture(100 * seed + index, height=height, width=width) for index in range(num_frames)]
    options = {"x264-params": f"keyint={every}:min-keyint={every}:scenecut=0"}
    return videos.write_video(path, frames, fps=10, lossless=True, options=options)


def frames_of(path: Path, method: str, count: int = 3) -> list[npt.NDArray[np.uint8]]:
    """RGB pictures, uint8 [H, W, 3]: those of key frames; or of `count` times, evenly spaced."""
    import av

    with av.open(str(path)) as container:
        decoded = [*container.decode(video=0)]
        duration = float(container.streams.video[0].duration * container.streams.video[0].time_base)
    if method == "all_keyframes":
        chosen = [frame for frame in decoded if frame.key_frame]
    else:
        count = min(count, len(decoded))
        times = [duration / 2] if count == 1 else [duration * index / (count - 1) for index in range(count)]
        after = [next((frame for frame in decoded if frame.time >= time - 1e-9), decoded[-1]) for time in times]
        chosen = list({frame.pts: frame for frame in after}.values())
    return [frame.to_ndarray(format="rgb24") for frame in chosen]
