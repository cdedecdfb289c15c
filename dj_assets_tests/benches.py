"""Benches over videos made in code, for tests of mappers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dj_assets import operators
from dj_assets.operators._mapper import Product
from dj_assets.video.safe_open import MediaLimits
from dj_assets.workbench import VideoBench, products_of


@contextmanager
def bench(path: Path, folder: Path, **options: Any) -> Iterator[VideoBench]:
    """A bench over a file, as workers have it."""
    from dj_assets.video.decode import with_rotation
    from dj_assets.video.probe import open_video, probe

    given = {"content_hash": "00ff", "maker": "test", "stem": path.stem, "text": "", **options}
    with open_video(str(path), roots=[path.parent], limits=MediaLimits()) as video:
        scan = with_rotation(video, probe(video, hold=True))
        yield VideoBench(video, scan, folder=folder, **given)


def made(name: str, path: Path, folder: Path, *, text: str = "", **options: Any) -> list[Product]:
    """What a mapper makes of a file."""
    from dj_assets.video.probe import open_video

    mapper: Any = operators.get(name)
    params = mapper.params(**options)
    return products_of(
        mapper,
        params,
        mapper.load(params, "cpu"),
        opened=lambda: open_video(str(path), roots=[path.parent], limits=MediaLimits()),
        content_hash="00ff",
        maker=f"{name} {params.model_dump_json()}",
        folder=folder,
        stem=path.stem,
        text=text,
    )


@dataclass(frozen=True)
class Seen:
    """What a reader finds in a file. seconds: of each frame. pictures: uint8 [n, H, W, 3], RGB, coded, not turned.
    audio: bytes and begin in seconds of each packet of the first audio stream."""

    seconds: list[Fraction]
    pictures: Any
    audio: list[tuple[bytes, Fraction]]
    facts: Mapping[str, Any]

    @property
    def audio_bytes(self) -> list[bytes]:
        return [data for data, _ in self.audio]


def seen(path: Path | str) -> Seen:
    """Read a file anew, from its beginning, by PyAV alone."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        context = stream.codec_context
        facts = {
            "container": container.format.name,
            "codec": context.name,
            "pixel_format": context.pix_fmt,
            "pixel_aspect": stream.sample_aspect_ratio,
            "rotation": frames[0].rotation,
            "colour": (context.color_range, context.colorspace, context.color_primaries, context.color_trc),
            "rate": stream.guessed_rate,
            "duration": stream.duration * stream.time_base if stream.duration else None,
            "metadata": {**container.metadata, **stream.metadata},
        }
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        seconds = [frame.pts * Fraction(frame.time_base) for frame in frames]
    return Seen(seconds, pictures, audio_packets(path), facts)


def audio_packets(path: Path | str, number: int = 0) -> list[tuple[bytes, Fraction]]:
    """Bytes and begin of each packet of an audio stream."""
    import av

    with av.open(str(path)) as container:
        if len(container.streams.audio) <= number:
            return []
        stream = container.streams.audio[number]
        return [
            (bytes(packet), packet.pts * Fraction(packet.time_base))
            for packet in container.demux(stream)
            if packet.size
        ]


def off_by(found: Any, expected: Any) -> float:
    """Mean difference of grey levels, of all pictures."""
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).mean())
