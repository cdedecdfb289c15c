"""A bench that only reads, for mappers whose products are words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dj_assets import operators
from dj_assets.frames import FramePlan, VideoInfo, Windows
from dj_assets.video.decode import decode_windows, with_rotation
from dj_assets.video.probe import open_video, probe
from dj_assets.video.safe_open import MediaLimits


class ReadingBench:
    """An opened video and a text."""

    def __init__(self, video: Any, scan: Any, text: str) -> None:
        self._video, self._scan, self.text = video, scan, text
        self.info: VideoInfo = scan.info

    def windows(self, plan: FramePlan) -> Iterator[Windows]:
        for _, windows in decode_windows(self._video, self._scan, [plan]):
            yield windows


@contextmanager
def reading(path: Path, text: str = "") -> Iterator[ReadingBench]:
    with open_video(str(path), roots=[path.parent], limits=MediaLimits()) as video:
        yield ReadingBench(video, with_rotation(video, probe(video, hold=True)), text)


def words(name: str, path: Path, *, text: str = "", **options: Any) -> Sequence[str]:
    """What a mapper of the role `words` makes of a video, on the CPU."""
    mapper: Any = operators.get(name)
    params = mapper.params(**options).on("cpu")
    with reading(path, text) as bench:
        made = mapper.make(bench, params, mapper.load(params, "cpu"))
    assert not any(product.path for product in made)
    return [product.text for product in made]
