"""What docs/measures.md says of our own video filters, measured anew: `python -m benchmarks.measures`.

Over the real clips of `media.py`: what each number is, sharpness of clips blurred by known amounts beside two other
measures of it, freezes of clips whose frames were doubled, and what each filter costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.media import FOLDER, real_clips
from dj_assets import operators
from dj_assets.frames import Size
from dj_assets.operators._sampled import small_size
from dj_assets.operators.video_blur_filter import BlurParams, edges_of, seen_size
from dj_assets.video.safe_open import MediaLimits
from dj_assets.video_run import Measured, MeasureSpec, Task, measure_task

HEADER = ("video_fps_filter", "video_bitrate_filter", "video_audio_presence_filter")
ON_FRAMES = (
    "video_freeze_ratio_filter",
    "video_blur_filter",
    "video_exposure_filter",
    "video_black_border_filter",
)
BESIDE = ("video_motion_dis_filter", "video_text_area_filter", "video_motion_score_filter")
"""Whose cost is shown for comparison."""

BLURS = (0, 2, 4, 8)
"""Widths of the Gaussian, in thousandths of the shorter side."""

CRFS = ("18", "23", "28")
DOUBLED_FRAMES = 72
NEARLY_STILL = ("10min", "quicktime", "thanks", "world")
"""Clips that stand still of themselves, or, world, that are another one's."""

CRETE_KERNEL_PX = 11
"""Of Crete's measure, as skimage has it."""

REPEATS = 3

Grey = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the clips are, or go")
    parser.add_argument("--only", choices=("clips", "blur", "freeze", "cost"), help="one of the tables")
    given = parser.parse_args()
    clips = real_clips(given.folder)
    tables: Mapping[str, Callable[[Sequence[Path]], Iterator[str]]] = {
        "clips": of_clips,
        "blur": of_blur,
        "freeze": of_doubled,
        "cost": of_cost,
    }
    for name, table in tables.items():
        if given.only in (None, name):
            print(f"\n## {name}\n")
            for line in table(clips):
                print(line, flush=True)


def measure(path: Path, names: Sequence[str], **params: Any) -> dict[str, Measured]:
    """What operators find in a clip, with their defaults but for params, in one decode."""
    specs = []
    for name in names:
        operator = operators.get(name)
        chosen = operator.params(**params)
        specs.append(MeasureSpec(operator.measure_id(chosen, "cpu"), name, chosen.model_dump_json(), "cpu"))
    facts = path.stat()
    roots = (path.resolve().parent,)
    task = Task(str(path), path.name, facts.st_size, facts.st_mtime_ns, roots, tuple(specs), MediaLimits())
    found = dict(zip(names, measure_task(task).measured, strict=True))
    for name, measured in found.items():
        if measured.bug:
            raise RuntimeError(f"{name} on {path}: {measured.bug}")
    return found


def of_clips(clips: Sequence[Path]) -> Iterator[str]:
    """Each clip's numbers under the defaults."""
    names = (*HEADER, *ON_FRAMES)
    stats = [stat.name.removeprefix("video_") for name in names for stat in operators.get(name).stats]
    yield _line("clip", *stats)
    yield _line(*(["---"] + ["---:"] * len(stats)))
    for clip in clips:
        found = measure(clip, names)
        yield _line(clip.stem, *(f"{value:.3g}" for name in names for value in found[name].values))


# --- sharpness


def of_blur(clips: Sequence[Path]) -> Iterator[str]:
    """By measure and known blur the least, median and greatest of all clips; and how well they are told apart."""
    frames = {clip.stem: _sampled_frames(clip) for clip in clips}
    yield _line("measure", *(f"blur {blur}" for blur in BLURS), "told apart from 4")
    yield _line("---", *["---:"] * (len(BLURS) + 1))
    for name, sharpness in SHARPNESS.items():
        of: dict[tuple[str, int], float] = {
            (clip, blur): float(np.median([sharpness(_blurred(picture, blur)) for picture in pictures]))
            for clip, pictures in frames.items()
            for blur in BLURS
        }
        spread = [np.quantile([of[clip, blur] for clip in frames], [0, 0.5, 1]) for blur in BLURS]
        right = [of[sharp, 0] > of[blurred, 4] for sharp in frames for blurred in frames]
        yield _line(name, *(" · ".join(f"{value:.3g}" for value in three) for three in spread), f"{np.mean(right):.0%}")


def _sampled_frames(clip: Path, count: int = 9) -> list[Grey]:
    """Evenly spaced grey frames, at their own size."""
    import av
    import cv2

    with av.open(str(clip)) as container:
        greys = [cv2.cvtColor(f.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY) for f in container.decode(video=0)]
    return [greys[index] for index in np.linspace(0, len(greys) - 1, count).astype(int)]


def _blurred(picture: Grey, blur: int) -> Grey:
    import cv2

    width_px = blur / 1000 * min(picture.shape)
    return cv2.GaussianBlur(picture, (0, 0), width_px) if width_px > 0.2 else picture  # else its kernel is one pixel


def _resized(picture: Grey, size: Size) -> Grey:
    import cv2

    if size == picture.shape:
        return picture
    return cv2.resize(picture, (size.width, size.height), interpolation=cv2.INTER_AREA)


def _lines(picture: Grey) -> float:
    return edges_of(_resized(picture, seen_size(Size(*picture.shape), BlurParams().short_side))).lines


def _laplacian(picture: Grey) -> float:
    """The variance of the Laplacian of a picture of one size, as many scripts have it."""
    import cv2

    return float(cv2.Laplacian(_resized(picture, small_size(Size(*picture.shape))), cv2.CV_64F).var())


def _crete(picture: Grey) -> float:
    """1 minus the blur effect of Crete et al. (2007), on pictures of at most 540 lines."""
    import cv2

    grey = _resized(picture, seen_size(Size(*picture.shape), BlurParams().short_side)).astype(np.float32)
    effects = []
    for axis, kernel in ((1, (CRETE_KERNEL_PX, 1)), (0, (1, CRETE_KERNEL_PX))):
        change = np.abs(np.diff(grey, axis=axis))
        again = np.abs(np.diff(cv2.blur(grey, kernel), axis=axis))
        lost = np.maximum(change - again, 0).sum()
        effects.append(1 - lost / max(float(change.sum()), 1e-9))
    return 1 - float(max(effects))


SHARPNESS: Mapping[str, Callable[[Grey], float]] = {
    "video_sharpness, lines": _lines,
    "variance of the Laplacian at 256 lines": _laplacian,
    "1 − Crete's blur effect at 540 lines": _crete,
}


# --- freezes


def of_doubled(clips: Sequence[Path]) -> Iterator[str]:
    """The share found where every frame is shown twice: half of the time the picture stands still."""
    yield _line("clip", "size", *(f"crf {crf}" for crf in CRFS))
    yield _line("---", "---:", *["---:"] * len(CRFS))
    with TemporaryDirectory() as folder:
        for clip in clips:
            if clip.stem not in NEARLY_STILL:
                yield _doubled_line(clip, Path(folder))


def _doubled_line(clip: Path, folder: Path) -> str:
    import av

    with av.open(str(clip)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(DOUBLED_FRAMES), strict=False)]
    shares = []
    for crf in CRFS:
        path = folder / f"{clip.stem}-{crf}.mp4"
        _write_doubled(frames, path, crf)
        [share] = measure(path, ("video_freeze_ratio_filter",), sampling_fps=12)["video_freeze_ratio_filter"].values
        shares.append(f"{share:.2f}")
    return _line(clip.stem, f"{frames[0].width}x{frames[0].height}", *shares)


def _write_doubled(frames: Sequence[Any], path: Path, crf: str) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": crf, "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width // 2 * 2, frames[0].height // 2 * 2, "yuv420p"
        for tick in range(2 * len(frames)):
            picture = frames[tick // 2].reformat(width=stream.width, height=stream.height, format="yuv420p")
            picture.pts, picture.time_base = tick, Fraction(1, 24)
            picture.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


# --- cost


def of_cost(clips: Sequence[Path]) -> Iterator[str]:
    """CPU milliseconds of one process for the clip of 720 lines, the best of several."""
    clip = next(clip for clip in clips if clip.stem == "bigbuckbunny")
    together = _cpu_ms(clip, ON_FRAMES)
    yield _line("filter", "alone, with its decode", "more beside our others")
    yield _line("---", "---:", "---:")
    for name in (*HEADER, *ON_FRAMES, *BESIDE):
        others = [other for other in ON_FRAMES if other != name]
        more = f"{together - _cpu_ms(clip, others):.0f}" if name in ON_FRAMES else ""
        yield _line(name, f"{_cpu_ms(clip, [name]):.0f}", more)
    yield _line("our four on frames, together", f"{together:.0f}", "")


def _cpu_ms(clip: Path, names: Sequence[str]) -> float:
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        measure(clip, names)
        spent.append(time.process_time() - began)
    return 1000 * min(spent)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
