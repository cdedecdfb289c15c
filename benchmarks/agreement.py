"""How the fast tier goes with the reference on real clips: `python -m benchmarks.agreement motion` (or `text`).

Draws `docs/agreement/<part>.png` and prints the tables of the page beside it. What was measured is kept in
`.bench/agreement`, so that a run that was broken off goes on; delete it to measure anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.media import FOLDER, ROOT, encode, pieces, real_clips
from dj_assets import operators
from dj_assets.operators import video_motion_dis_filter as dis
from dj_assets.operators._sampled import small_size
from dj_assets.video.safe_open import MediaLimits
from dj_assets.workers import Measured, MeasureSpec, Task, measure_task

PAGES = ROOT / "docs" / "agreement"
RESULTS = FOLDER.parent / "agreement"
PIECES = FOLDER.parent / "pieces"
VARIANTS = FOLDER.parent / "variants"
PIECE_SECONDS = 5

MOTION, MOTION_FAST = "video_motion_score_filter", "video_motion_dis_filter"
TEXT, TEXT_FAST = "video_ocr_area_ratio_filter", "video_text_area_filter"

FEW_OF = {"vtest": 2, "world": 2}
"""Pieces of long clips that show the same all the time, where a frame costs seconds."""

MAY_BE_SHOWN = ("bigbuckbunny", "cityCC0", "cup", "globe", "world", "vtest", "thanks")
"""Clips under a licence that lets their pictures be passed on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("motion", "text"))
    {"motion": motion, "text": text}[parser.parse_args().part]()


# --- motion


def motion() -> None:
    clips = cut_clips()
    found = {
        "DIS, diagonals/s": [value(clip, MOTION_FAST) for clip in clips],
        "reference as it is, px": [value(clip, MOTION) for clip in clips],
        "reference at size 256, px": [value(clip, MOTION, size=256) for clip in clips],
    }
    print(f"\n{len(clips)} pieces. Rank correlation (Spearman):\n")
    table(("", *list(found)[1:]), correlations(found))
    of_clips = {name: list(medians(clips, values).values()) for name, values in found.items()}
    print(f"\nOf {len(of_clips['DIS, diagonals/s'])} clips, by the medians of their pieces:\n")
    table(("", *list(found)[1:]), correlations(of_clips))
    print()
    table(("clip", *found), by_clip(clips, found))
    print("\nThe default bounds:\n")
    table(
        (
            "DIS, at least",
            "same verdict as the reference's 0.25 px",
            "kept by DIS alone",
            "kept by the reference alone",
        ),
        verdicts(
            found["DIS, diagonals/s"],
            found["reference as it is, px"],
            (0.0005, 0.001, 0.002, 0.005, 0.01),
            at_least=0.25,
        ),
    )
    print("\nThe same clip at other sizes and rates, as a share of its number as it is:\n")
    table(("clip", "of", *NAMES_OF_VARIANTS, "most / least"), invariance())
    print(
        "\nPixels without a flow that leads there and back, and the number, by the time between the frames of a pair:\n"
    )
    table(("", *(f"{gap:.3g} s" for gap in GAPS)), matched(few(clips)))
    scatter(
        PAGES / "motion.png", clips, found, "DIS, diagonals/s", list(found)[1:], least=1e-4,
        bounds={"DIS, diagonals/s": 0.001, "reference as it is, px": 0.25},
    )  # fmt: skip


def cut_clips() -> list[Path]:
    """Every clip in pieces of 5 s; what has one frame a second stays whole."""
    return [
        piece
        for clip in real_clips()
        for piece in ([clip] if clip.stem == "10min" else pieces(clip, PIECES, seconds=PIECE_SECONDS))
    ]


@dataclass(frozen=True)
class Variant:
    """Another encoding of a clip. height: of the picture, or None as it is. rate: frames per frame of the clip."""

    name: str
    height: int | None = None
    rate: float = 1


VARIED = (
    Variant("1080p", height=1080),
    Variant("720p", height=720),
    Variant("360p", height=360),
    Variant("144p", height=144),
    Variant("half the rate", rate=0.5),
    Variant("each frame twice", rate=2),
)
NAMES_OF_VARIANTS = tuple(variant.name for variant in VARIED)
CLIPS_TO_VARY = ("bigbuckbunny-5s-00", "bikes-5s-01", "cityCC0-5s-00", "flashmob-5s-01", "video1-5s-01", "world-5s-01")


def invariance() -> Iterator[Sequence[object]]:
    """Rows: how far the numbers of a clip's encodings are from that of the clip."""
    spreads: dict[str, list[float]] = {}
    for stem in CLIPS_TO_VARY:
        clip = PIECES / f"{stem}.mp4"
        for what, operator in (("DIS", MOTION_FAST), ("reference", MOTION)):
            own = value(clip, operator)
            shares = [value(varied(clip, variant), operator) / own for variant in VARIED]
            spread = max(1.0, *shares) / min(1.0, *shares)
            spreads.setdefault(what, []).append(spread)
            yield (stem.split("-")[0], what, *(f"{share:.2f}" for share in shares), f"{spread:.2f}")
    for what, found in spreads.items():
        yield ("median", what, *[""] * len(VARIED), f"{np.median(found):.2f}")


def varied(clip: Path, variant: Variant) -> Path:
    """The clip in that encoding."""
    import av

    VARIANTS.mkdir(parents=True, exist_ok=True)
    path = VARIANTS / f"{clip.stem}-{variant.name.replace(' ', '_')}.mp4"
    if not path.exists():
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            size = None
            if variant.height is not None:
                width = round(stream.width * variant.height / stream.height / 2) * 2
                size = (width, variant.height)
            encode(_at_rate(container.decode(stream), variant.rate), path, size=size)
    return path


def _at_rate(frames: Iterable[Any], rate: float) -> Iterator[Any]:
    """Every second frame, or each frame and again half a frame later, or the frames as they are."""
    listed = list(frames)
    if rate <= 1:
        yield from listed[:: round(1 / rate)]
        return
    for frame, after in zip(listed, [*listed[1:], None], strict=True):
        yield frame
        if after is not None:
            again = frame.reformat(format="yuv420p")
            again.time_base, again.pts = frame.time_base, (frame.pts + after.pts) // 2
            yield again


GAPS = (1 / 24, 1 / 12, 1 / 8, 1 / 4, 1 / 2)


def matched(clips: Sequence[Path]) -> Iterator[Sequence[object]]:
    """Rows: share of unmatched pixels, and DIS's number relative to that at 1/12 s, for pairs of several lengths."""
    kept = _kept("gaps")
    quick = [clip for clip in clips if clip.stem != "10min"]  # its frames are a second apart
    for clip in quick:
        if clip.name not in kept:
            kept[clip.name] = _gaps_of(clip)
            _keep("gaps", kept)
    lost, number = np.moveaxis(np.array([kept[clip.name] for clip in quick]), 2, 0)
    yield ("unmatched, mean of pieces", *(f"{share:.1%}" for share in lost.mean(axis=0)))
    yield ("unmatched, median", *(f"{share:.1%}" for share in np.median(lost, axis=0)))
    yield ("number / that at 1/12 s, median", *(f"{share:.2f}" for share in np.median(number / number[:, [1]], axis=0)))


def _gaps_of(clip: Path) -> list[tuple[float, float]]:
    """(unmatched share, diagonals per second) of a clip, for each of GAPS, over two pairs a second."""
    times, pictures = _grey_frames(clip)
    found = []
    with dis._flow() as method:
        for gap in GAPS:
            instants = np.arange(0, max(times[-1] - gap, 0) + 1e-6, 0.5)
            before = np.minimum(np.searchsorted(times, instants + 1e-6, side="right") - 1, len(times) - 2)
            after = np.maximum(before + 1, dis._nearest(times, times[before] + gap))
            both = []
            for i, j in zip(before.tolist(), after.tolist(), strict=True):
                there = method.calc(pictures[i], pictures[j], None)
                back = method.calc(pictures[j], pictures[i], None)
                speed = (
                    np.hypot(*np.moveaxis(there, 2, 0)).mean() / math.hypot(*there.shape[:2]) / (times[j] - times[i])
                )
                both.append((unmatched_share(there, back), float(speed)))
            found.append(tuple(np.mean(both, axis=0).tolist()))
    return found


def _grey_frames(clip: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    import av

    from dj_assets.frames import Look, Size
    from dj_assets.video.decode import picture

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        look = Look("gray8", small_size(Size(stream.height, stream.width)))
        frames = [(frame.time, picture(frame, look)) for frame in container.decode(stream)]
    return np.array([time for time, _ in frames]) - frames[0][0], [grey for _, grey in frames]


def unmatched_share(there: np.ndarray, back: np.ndarray) -> float:
    """Share of pixels that do not come back to within 1 px or a tenth of the way, or leave the picture."""
    import cv2

    height, width = there.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    to_x, to_y = x + there[..., 0], y + there[..., 1]
    error = np.hypot(*np.moveaxis(there + cv2.remap(back, to_x, to_y, cv2.INTER_LINEAR), 2, 0))
    length = np.hypot(there[..., 0], there[..., 1])
    outside = (to_x < 0) | (to_x >= width) | (to_y < 0) | (to_y >= height)
    return float(((error > np.maximum(1, length / 10)) | outside).mean())


# --- text


def text() -> None:
    clips = few(cut_clips())
    quick = [measured(clip, TEXT_FAST) for clip in clips]
    bare = [measured(clip, TEXT_FAST, max_line_height=1) for clip in clips]
    slow = [measured(clip, TEXT) for clip in clips]
    frames = {
        "PP-OCR small": [x for one in quick for x in one.window_values],
        "CRAFT": [x for one in slow for x in one.window_values],
    }
    of = [clip for clip, one in zip(clips, slow, strict=True) for _ in one.window_values]
    found = {"PP-OCR small": [one.values[0] for one in quick], "CRAFT": [one.values[0] for one in slow]}
    print(f"\n{len(of)} frames of {len(clips)} clips. Rank correlation (Spearman):\n")
    has_text = np.array(frames["CRAFT"]) > 0
    table(
        ("", "all frames", "frames in which CRAFT finds text", "clips"),
        [
            (
                "Spearman",
                f"{spearman(*frames.values()):.2f}",
                f"{spearman(*(np.array(one)[has_text] for one in frames.values())):.2f}",
                f"{spearman(*found.values()):.2f}",
            )
        ],
    )
    share = np.array(frames["PP-OCR small"])[has_text] / np.array(frames["CRAFT"])[has_text]
    print(
        f"\nWhere CRAFT finds text, the quick area is {np.quantile(share, (0.1, 0.25, 0.5, 0.75, 0.9)).round(2)} of it"
    )
    print("(10, 25, 50, 75, 90 % of frames).\n\nWho finds text:\n")
    finds = np.array(frames["PP-OCR small"]) > 0
    table(
        ("", "CRAFT finds some", "CRAFT finds none"),
        [(f"quick: {name}", int((mask & has_text).sum()), int((mask & ~has_text).sum()))
         for name, mask in (("some", finds), ("none", ~finds))],
    )  # fmt: skip
    print("\nBy clip, means of its pieces:\n")
    table(("clip", *found), by_clip(clips, found, middle=np.mean))
    print("\nClips on which max_line_height: 1 finds more:\n")
    table(("clip", "0.5", "1", "CRAFT"), [
        (clip.stem, *(f"{one.values[0]:.3g}" for one in three))
        for clip, *three in zip(clips, quick, bare, slow, strict=True) if three[0].values != three[1].values
    ])  # fmt: skip
    print("\nThe same bound on both, max_area_ratio:\n")
    table(
        ("at most", "same verdict", "kept by the quick one alone", "kept by CRAFT alone"),
        verdicts(found["PP-OCR small"], found["CRAFT"], (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)),
    )
    scatter(PAGES / "text.png", of, frames, "PP-OCR small", ["CRAFT"], least=1e-3, bounds={})
    differing_frames(PAGES / "text_frames.jpg", clips, slow, quick)


def few(clips: Sequence[Path]) -> list[Path]:
    """All but the later pieces of clips that show the same all the time."""
    return [clip for clip in clips if _number(clip) < FEW_OF.get(_stem(clip), len(clips))]


def _stem(clip: Path) -> str:
    return clip.stem.split("-")[0]


def _number(clip: Path) -> int:
    return int(clip.stem.rsplit("-", 1)[1]) if "-" in clip.stem else 0


def differing_frames(path: Path, clips: Sequence[Path], slow: Sequence[Measured], quick: Sequence[Measured]) -> None:
    """A picture of the frames in which the two differ most, of clips that may be shown, with the boxes of both."""
    rows = [
        (abs(a - b), clip, number, len(one.window_values))
        for clip, one, other in zip(clips, slow, quick, strict=True)
        for number, (a, b) in enumerate(zip(one.window_values, other.window_values, strict=True))
        if _stem(clip) in MAY_BE_SHOWN and max(a, b) > 0
    ]
    worst: dict[str, tuple[float, Path, int, int]] = {}
    for row in sorted(rows, key=lambda row: -row[0]):
        worst.setdefault(_stem(row[1]), row)
    by_clip_ = {clip: (one, other) for clip, one, other in zip(clips, slow, quick, strict=True)}
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = list(worst.values())[:3]
    figure, axes = pyplot.subplots(1, len(chosen), figsize=(4 * len(chosen), 2.6), layout="constrained", squeeze=False)
    for axis, (_, clip, number, _) in zip(axes.flat, chosen, strict=True):
        one, other = by_clip_[clip]
        pixels = _frame(clip, number)
        axis.imshow(pixels)
        axis.set_axis_off()
        for corners in _craft_boxes(one.window_details[number]):
            axis.add_patch(pyplot.Polygon(corners, fill=False, color="#3b7dff", linewidth=1.2))
        scale = np.array(pixels.shape[1::-1]) / np.array(_looked_at(clip))[::-1]
        for corners in np.array(json.loads(other.window_details[number])["boxes"]).reshape(-1, 4, 2) * scale:
            axis.add_patch(pyplot.Polygon(corners, fill=False, color="#e02020", linewidth=1.2))
        said = f"CRAFT {one.window_values[number]:.3f}, PP-OCR {other.window_values[number]:.3f}"
        axis.set_title(f"{_stem(clip)}: {said}", fontsize=8)
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 80})
    print(f"\n{path.name}: {', '.join(_stem(row[1]) for row in chosen)}")


def _craft_boxes(detail: str) -> list[np.ndarray]:
    boxes = json.loads(detail)
    upright = [np.array([[a, b], [c, b], [c, d], [a, d]]) for a, b, c, d in boxes["rectangles"]]
    return upright + [np.array(corners) for corners in boxes["quadrilaterals"]]


def _looked_at(clip: Path) -> tuple[int, int]:
    import av

    from dj_assets.frames import Size
    from dj_assets.operators.video_text_area_filter import TextAreaParams, looked_at_size

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        return looked_at_size(Size(stream.height, stream.width), TextAreaParams().longest_side)


def _frame(clip: Path, number: int) -> np.ndarray:
    """The frame of that number among those that `uniform` picks by default. RGB."""
    import av

    from dj_assets.frames import uniform
    from dj_assets.operators.video_text_area_filter import TextAreaParams
    from dj_assets.video.probe import open_video, probe

    with open_video(str(clip), roots=(clip.parent,), limits=MediaLimits()) as video:
        index = int(uniform(probe(video).info, TextAreaParams().frame_sample_num)[number])
    with av.open(str(clip)) as container:
        return next(itertools.islice(container.decode(video=0), index, None)).to_ndarray(format="rgb24")


# --- both


def value(clip: Path, operator: str, **params: Any) -> float:
    return measured(clip, operator, **params).values[0]


def measured(clip: Path, operator: str, **params: Any) -> Measured:
    """What an operator finds in a clip; as kept from an earlier run where nothing that matters has changed."""
    declared = operators.get(operator)
    chosen = declared.params(**params)
    spec = MeasureSpec(declared.measure_id(chosen, "cpu"), operator, chosen.model_dump_json(), "cpu")
    facts = clip.stat()
    key = f"{clip.name} {facts.st_size} {spec.measure_id}"
    kept = _kept(operator)
    if key not in kept:
        task = Task(str(clip), clip.name, facts.st_size, facts.st_mtime_ns, (clip.parent,), (spec,), MediaLimits())
        [one] = measure_task(task).measured
        if one.status != "ok" or one.bug:
            raise RuntimeError(f"{clip}: {one.status} {one.reason} {one.bug}")
        kept[key] = [one.values, one.window_values, one.window_details]
        _keep(operator, kept)
    values, window_values, window_details = (tuple(part) for part in kept[key])
    return Measured(spec.measure_id, values, window_values, window_details)


def _kept(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(name: str, found: Mapping[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found))


def spearman(some: Sequence[float] | np.ndarray, others: Sequence[float] | np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(some, others).statistic)


def correlations(found: Mapping[str, Sequence[float]]) -> Iterator[Sequence[object]]:
    names = list(found)
    for index, name in enumerate(names[:-1]):
        yield (name, *(f"{spearman(found[name], found[other]):.2f}" if other in names[index + 1 :] else ""
                       for other in names[1:]))  # fmt: skip


def medians(
    clips: Sequence[Path], values: Sequence[float], middle: Callable[[Any], Any] = np.median
) -> dict[str, float]:
    """The middle of each clip's pieces, by the clip's name and how many there are."""
    pieces_of: dict[str, list[float]] = {}
    for clip, one in zip(clips, values, strict=True):
        pieces_of.setdefault(_stem(clip), []).append(one)
    return {f"{stem} ({len(mine)})" if len(mine) > 1 else stem: float(middle(mine)) for stem, mine in pieces_of.items()}


def by_clip(
    clips: Sequence[Path], found: Mapping[str, Sequence[float]], middle: Callable[[Any], Any] = np.median
) -> Iterator[Sequence[object]]:
    columns = [medians(clips, values, middle) for values in found.values()]
    for name in columns[0]:
        yield (name, *(f"{column[name]:.3g}" for column in columns))


def verdicts(
    quick: Sequence[float], slow: Sequence[float], bounds: Sequence[float], *, at_least: float | None = None
) -> Iterator[Sequence[object]]:
    """Rows: how often both keep or both drop a clip. at_least: the reference's own least; default the same most."""
    for bound in bounds:
        kept = np.array(quick) >= bound if at_least is not None else np.array(quick) <= bound
        wanted = np.array(slow) >= at_least if at_least is not None else np.array(slow) <= bound
        yield (f"{bound:g}", f"{(kept == wanted).sum()} of {len(kept)}", (kept & ~wanted).sum(), (~kept & wanted).sum())


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Prints Markdown."""
    print("| " + " | ".join(map(str, head)) + " |")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def scatter(
    path: Path, clips: Sequence[Path], found: Mapping[str, Sequence[float]], quick: str, slow: Sequence[str], *,
    least: float, bounds: Mapping[str, float],
) -> None:  # fmt: skip
    """One panel for each of the slow numbers; a colour for each clip, values below `least` at the edge."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stems = [_stem(clip) for clip in clips]
    figure, axes = pyplot.subplots(
        1, len(slow), figsize=(5.2 * len(slow) + 1.6, 4.6), layout="constrained", squeeze=False
    )
    colours = pyplot.get_cmap("tab20")
    for axis, name in zip(axes[0], slow, strict=True):
        for number, stem in enumerate(dict.fromkeys(stems)):
            mine = [index for index, other in enumerate(stems) if other == stem]
            x, y = ([max(found[what][index], least) for index in mine] for what in (name, quick))
            axis.scatter(x, y, s=22, color=colours(number % 20), marker="os^"[number // 20], label=stem, alpha=0.85)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(name)
        axis.set_ylabel(quick)
        axis.grid(alpha=0.25)
        if name in bounds:
            axis.axvline(bounds[name], color="black", linewidth=0.8, linestyle=":")
        if quick in bounds:
            axis.axhline(bounds[quick], color="black", linewidth=0.8, linestyle=":")
        axis.set_title(f"Spearman {spearman(found[quick], found[name]):.2f}", fontsize=10)
    axes[0][-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
