"""Keeps one of the samples that show nearly the same pictures: re-encoded, resized, slightly cropped.

    evenly spaced frames ─► grey, 32x32 ─► DCT ─► which of the 64 lowest frequencies lie above their median: 64 bits
    two videos: the mean number of bits in which their frames differ, first with first, last with last

The hash is the perceptual hash that is known as pHash (Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions", 2010); written here. Different pictures differ in about 32 of 64 bits. A picture of one grey has no
frequencies to speak of, so it has no hash. Data-Juicer has no such operator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import FramePlan, Look, VideoInfo, Windows, single, uniform
from dj_assets.operators._contract import Operator, Params, Scores, Stat
from dj_assets.operators._whole import Applicant, Candidate, Choice, Related, Whole

SIDE, LOW = 32, 8
LEAST_SPREAD = 3.0
"""Grey levels, standard deviation over the 32x32 picture: below that it is flat, and noise would decide its bits."""

LEAST_BITS = 16
"""Bits that must be set. About 31 of 63 lie above their median, unless most frequencies are equal, as in a ramp."""

ALWAYS_ALLOWED_SECONDS = 0.5
"""A difference in length that is none: containers and frame rates move the last frame by that much."""

Keep = Literal["first", "highest_resolution", "longest"]


class NearMeasureParams(Params):
    """Options that change what is known of a video."""

    frame_sample_num: int = Field(8, ge=1, le=64, description="frames looked at, evenly spaced, 1 to 64")


class NearParams(Params):
    """Options that change which samples stay."""

    max_distance: float = Field(8.0, ge=0, le=20, description="mean bits of 64 in which copies may differ, 0 to 20")
    max_duration_gap: float = Field(
        0.05, ge=0, le=1, description="share of the longer video by which copies may differ in length, 0 to 1"
    )
    keep: Keep = Field("first", description="which copy stays: first, highest_resolution or longest")


# --- what a video looks like


def plan(info: VideoInfo, params: NearMeasureParams) -> FramePlan:
    """Evenly spaced frames, grey, turned as players do, in windows of one."""
    if info.num_frames_from_scan < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    return single(uniform(info, params.frame_sample_num), Look("gray8", apply_rotation=True))


def score(windows: Windows, params: NearMeasureParams, model: Any) -> Scores:
    """1 for a frame that has a hash, 0 for a flat one. windows.data: uint8 [N, 1, H, W].

    Details, JSON: `phash`, 16 hex digits or null; `seconds` of the frame; `height` and `width` as shown.
    """
    height, width = windows.data.shape[2:]
    hashes = [phash(frame) for frame in windows.data[:, 0]]
    details = (
        json.dumps({"phash": found, "seconds": round(float(seconds), 6), "height": height, "width": width})
        for found, seconds in zip(hashes, windows.pts_seconds[:, 0], strict=True)
    )
    return Scores(np.array([float(found is not None) for found in hashes]), tuple(details))


def phash(grey: npt.NDArray[np.uint8]) -> str | None:
    """64 bits as 16 hex digits; None of a picture with nothing in it, a flat one or a ramp. grey: uint8 [H, W].

    Bit k is set where frequency k of the lowest 8x8, in rows, lies above the median of these without the mean; the bit
    of the mean itself is never set.
    """
    import cv2

    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(small.std()) < LEAST_SPREAD:
        return None
    lowest = cv2.dct(small)[:LOW, :LOW].ravel()
    bits = lowest > np.median(lowest[1:])
    bits[0] = False
    if int(bits.sum()) < LEAST_BITS:
        return None
    return np.packbits(bits).tobytes().hex()


def hashed_frames(values: npt.NDArray[np.float64]) -> float:
    """How many frames have a hash."""
    return float(values.sum())


# --- which videos are copies

VideoPaper = dict[str, Any]
"""Of one video: `phash`, one per frame, with blanks between and `-` for none; `seconds` of the last one; `height` and
`width`. A text instead of a list, since a hundred thousand of these are read with each shard."""

VideoPapers = list[VideoPaper]


def paper(applicant: Applicant, params: NearParams) -> VideoPapers | None:
    """Of each video the hashes of its frames, its length and its picture.

    None for a sample without videos, or with one of which too few frames have a hash: it always stays.
    """
    videos = [_video_paper([json.loads(text) for text in texts]) for texts in applicant.details]
    return videos if videos and all(map(_has_hashes, videos)) else None


def _video_paper(frames: Sequence[dict[str, Any]]) -> VideoPaper:
    size = frames[0]
    seconds = max(frame["seconds"] for frame in frames)
    hashes = " ".join(frame["phash"] or "-" for frame in frames)
    return {"phash": hashes, "seconds": seconds, "height": size["height"], "width": size["width"]}


def relate(
    papers: Sequence[VideoPapers | None], params: NearParams, first_new: int
) -> Iterator[tuple[int, int, float]]:
    """Pairs whose videos are near one by one, with the bits by which the farthest of them differ."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for at, one in enumerate(papers):
        if one is not None:
            shapes.setdefault(tuple(video["phash"].count(" ") + 1 for video in one), []).append(at)
    for shape, alike in shapes.items():
        old = sum(at < first_new for at in alike)
        found: dict[tuple[int, int], float] | None = None
        for number in range(len(shape)):
            videos = [papers[at][number] for at in alike]  # type: ignore[index]  # None is not comparable
            near = _near_videos(videos, params, old)
            if found is not None:
                near = {pair: max(bits, found[pair]) for pair, bits in near.items() if pair in found}
            found = near
        for (first, second), bits in (found or {}).items():
            yield alike[first], alike[second], bits


def choose(candidates: Sequence[Candidate], params: NearParams, related: Related) -> Choice:
    """Candidates come by preference; one goes where a copy of it has come to stay before. So every sample that goes is
    near the one that stays in its place, and of those that stay no two are near each other."""
    comparable = [at for at, one in enumerate(candidates) if one.text != "null"]
    # Reading a paper takes longer than all else, and by default nobody asks for one.
    ranks = {at: _rank(candidates[at].paper, params.keep) for at in comparable if params.keep != "first"}
    stays: dict[str, tuple[int, int]] = {}  # paper -> (turn, place) of the candidate that stays
    dropped: dict[str, str] = {}
    of: dict[str, str] = {}
    for turn, at in enumerate(sorted(comparable, key=lambda at: (ranks.get(at, 0.0), at))):
        gone = candidates[at]
        copies = [(gone.text, 0.0), *related.get(gone.text, ())]
        near = [(*stays[text], bits) for text, bits in copies if text in stays]
        if not near:
            stays[gone.text] = turn, at
            continue
        _, first, bits = min(near)
        stayed = candidates[first]
        dropped[gone.sample_id], of[gone.sample_id] = _reason(gone, stayed, bits, params), stayed.sample_id
    return Choice(dropped, of)


def _has_hashes(video: VideoPaper) -> bool:
    num_frames, missing = video["phash"].count(" ") + 1, video["phash"].count("-")
    return 0 < num_frames - missing >= _least_places(num_frames)


def _least_places(num_frames: int) -> int:
    """Frames of which both videos must have a hash: half of them."""
    return (num_frames + 1) // 2


def _rank(paper: VideoPapers, keep: Keep) -> float:
    if keep == "highest_resolution":
        return -float(sum(video["height"] * video["width"] for video in paper))
    return -float(sum(video["seconds"] for video in paper)) if keep == "longest" else 0.0


def _near_videos(videos: Sequence[VideoPaper], params: NearParams, first_new: int) -> dict[tuple[int, int], float]:
    """(place, place) -> bits apart, of videos with equally many frames."""
    from dj_assets.operators._hamming import near_pairs

    hashes = [video["phash"].split() for video in videos]
    present = np.array([[one != "-" for one in row] for row in hashes])
    codes = np.array([[0 if one == "-" else int(one, 16) for one in row] for row in hashes], dtype=np.uint64)
    found = near_pairs(
        codes, present, params.max_distance, least_places=_least_places(codes.shape[1]), first_new=first_new
    )
    seconds = np.array([video["seconds"] for video in videos])
    first, second = seconds[found.first], seconds[found.second]
    allowed = np.maximum(ALWAYS_ALLOWED_SECONDS, params.max_duration_gap * np.maximum(first, second))
    fits = np.abs(first - second) <= allowed
    pairs = zip(found.first[fits].tolist(), found.second[fits].tolist(), strict=True)
    return dict(zip(pairs, found.distances[fits].tolist(), strict=True))


def _reason(gone: Candidate, stays: Candidate, bits: float, params: NearParams) -> str:
    """Why one goes and the other stays, in words."""
    why = "comes first"
    if _rank(gone.paper, params.keep) != _rank(stays.paper, params.keep):
        larger = params.keep == "highest_resolution"
        why = f"has more pixels ({_sizes(stays)})" if larger else f"is longer ({_seconds(stays)})"
    return f"a near copy of {stays.sample_id}, {bits:.3g} of 64 bits apart, which {why}"


def _sizes(one: Candidate) -> str:
    return ", ".join(f"{video['width']}x{video['height']}" for video in one.paper)


def _seconds(one: Candidate) -> str:
    return f"{sum(video['seconds'] for video in one.paper):.3g} s"


def keeps(params: NearParams) -> str:
    """The rule in words."""
    which = {"first": "first", "highest_resolution": "largest", "longest": "longest"}[params.keep]
    return f"the {which} sample of those whose videos are at most {params.max_distance:g} of 64 bits apart"


OPERATOR = Whole(
    name="video_near_deduplicator",
    version=1,
    summary="near copies, by perceptual hashes of evenly spaced frames: re-encoded, resized or slightly cropped",
    kind="deduplicator",
    params=NearParams,
    paper=paper,
    relate=relate,
    choose=choose,
    keeps=keeps,
    measure=Operator(
        name="video_near_deduplicator",
        version=1,
        summary="evenly spaced frames that have a perceptual hash, and the hashes",
        compute="cpu",
        params=NearMeasureParams,
        stats=(Stat("video_hashed_frames", unit="frames", is_integer=True),),
        bounds=(),
        plan=plan,
        score=score,
        reduce=hashed_frames,
    ),
)
