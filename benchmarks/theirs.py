"""The peer's own motion operator, asked clip by clip (a program of `benchmarks.contest`, run by the peer's Python)."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from benchmarks.contest import serve


def main() -> None:
    serve({"motion": motion, "decode": decode, "hashes": hashes})


def motion(path: str) -> float:
    """The score. Threads of OpenCV and FFmpeg are as dj-process leaves them."""
    return _score(_operator(), path)


def decode(path: str) -> float:
    """The operator with a flow of one pixel in place of Farneback's: its reading, seeking and conversion to grey."""
    import numpy as np

    still = np.zeros((1, 1, 2), dtype=np.float32)
    return _score(_with_model(lambda before, after, flow, **options: still), path)


def hashes(path: str) -> list[str]:
    """Digests of the grey pictures that it compares, in its order, the first picture left out."""
    import numpy as np

    still = np.zeros((1, 1, 2), dtype=np.float32)
    found: list[str] = []

    def note(before: Any, after: Any, flow: Any, **options: Any) -> Any:
        found.append(hashlib.blake2b(after.tobytes(), digest_size=16).hexdigest())
        return still

    _score(_with_model(note), path)
    return found


@cache
def _operator() -> Any:
    from data_juicer.ops.filter.video_motion_score_filter import VideoMotionScoreFilter

    return VideoMotionScoreFilter()


def _with_model(model: Any) -> Any:
    from data_juicer.ops.filter.video_motion_score_filter import VideoMotionScoreFilter

    operator = VideoMotionScoreFilter()

    def setup_model(rank: Any = None) -> None:
        operator.model = model

    operator.setup_model = setup_model
    return operator


def _score(operator: Any, path: str) -> float:
    from data_juicer.utils.constant import Fields, StatsKeys

    sample = operator.compute_stats_single({"videos": [path], "text": "", Fields.stats: {}})
    return float(sample[Fields.stats][StatsKeys.video_motion_score][0])


if __name__ == "__main__":
    main()
