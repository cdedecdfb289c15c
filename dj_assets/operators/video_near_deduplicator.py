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
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import FramePlan, Look, VideoInfo, Windows, single, uniform
from dj_assets.operators._contract import Operator, Params, Scores, Stat
from dj_assets.operators._whole import Applicant, Candidate, Choice, Whole

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


def paper(applicant: Applicant, params: NearParams) -> list[dict[str, Any]] | None:
    """Of each video the hashes of its frames, its length and its picture. None for a sample without videos."""
    return [_video_paper([json.loads(text) for text in texts]) for texts in applicant.details] or None


def _video_paper(frames: Sequence[dict[str, Any]]) -> dict[str, Any]:
    size = frames[0]
    seconds = max(frame["seconds"] for frame in frames)
    hashes = [frame["phash"] for frame in frames]
    return {"phash": hashes, "seconds": seconds, "height": size["height"], "width": size["width"]}


@dataclass(frozen=True)
class _Copies:
    """Groups of samples with one and the same paper, and which groups are near each other.

    of: group of each candidate, -1 where it cannot be compared. near: group -> (group, bits apart). rank: by group, by
    which a copy is preferred, lowest first.
    """

    of: list[int]
    near: dict[int, list[tuple[int, float]]]
    rank: list[float]

    def around(self, group: int) -> list[tuple[int, float]]:
        """A group and those near it, each with the bits between."""
        return [(group, 0.0), *self.near.get(group, ())]


def choose(candidates: Sequence[Candidate], params: NearParams) -> Choice:
    """Candidates come by preference; one goes where a copy of it has come to stay before. So every sample that goes is
    near the one that stays in its place, and of those that stay no two are near each other."""
    copies = _copies(candidates, params)
    comparable = [at for at, group in enumerate(copies.of) if group >= 0]
    stays: dict[int, tuple[int, int]] = {}  # group -> (turn, place) of the candidate that stays
    dropped: dict[str, str] = {}
    of: dict[str, str] = {}
    for turn, at in enumerate(sorted(comparable, key=lambda at: (copies.rank[copies.of[at]], at))):
        group = copies.of[at]
        near = [(*stays[other], bits) for other, bits in copies.around(group) if other in stays]
        if not near:
            stays[group] = turn, at
            continue
        _, first, bits = min(near)
        gone, stayed = candidates[at], candidates[first]
        dropped[gone.sample_id], of[gone.sample_id] = _reason(gone, stayed, bits, params), stayed.sample_id
    return Choice(dropped, of)


def _copies(candidates: Sequence[Candidate], params: NearParams) -> _Copies:
    groups: dict[str, int] = {}
    papers: list[list[dict[str, Any]]] = []
    of: list[int] = []
    for candidate in candidates:
        if not candidate.paper:
            of.append(-1)
            continue
        text = json.dumps(candidate.paper)
        if text not in groups:
            groups[text] = len(papers)
            papers.append(candidate.paper)
        of.append(groups[text])
    near: dict[int, list[tuple[int, float]]] = {}
    for first, second, bits in _near_papers(papers, params):
        near.setdefault(first, []).append((second, bits))
        near.setdefault(second, []).append((first, bits))
    return _Copies(_without_hashes(of, papers), near, [_rank(paper, params.keep) for paper in papers])


def _without_hashes(of: Sequence[int], papers: Sequence[Sequence[dict[str, Any]]]) -> list[int]:
    """The groups, -1 for those of which some video cannot be compared with anything."""
    blind = {at for at, paper in enumerate(papers) if any(not _has_hashes(video) for video in paper)}
    return [-1 if group in blind else group for group in of]


def _has_hashes(video: dict[str, Any]) -> bool:
    found = sum(one is not None for one in video["phash"])
    return found > 0 and found >= _least_places(len(video["phash"]))


def _least_places(num_frames: int) -> int:
    """Frames of which both videos must have a hash: half of them."""
    return (num_frames + 1) // 2


def _rank(paper: Sequence[dict[str, Any]], keep: Keep) -> float:
    if keep == "highest_resolution":
        return -float(sum(video["height"] * video["width"] for video in paper))
    return -float(sum(video["seconds"] for video in paper)) if keep == "longest" else 0.0


def _near_papers(papers: Sequence[Sequence[dict[str, Any]]], params: NearParams) -> Iterator[tuple[int, int, float]]:
    """(paper, paper, bits apart) of those whose videos are near one by one; bits of the farthest of them."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for at, one in enumerate(papers):
        shapes.setdefault(tuple(len(video["phash"]) for video in one), []).append(at)
    for shape, alike in shapes.items():
        found: dict[tuple[int, int], float] | None = None
        for number in range(len(shape)):
            near = _near_videos([papers[at][number] for at in alike], params)
            if found is not None:
                near = {pair: max(bits, found[pair]) for pair, bits in near.items() if pair in found}
            found = near
        for (first, second), bits in (found or {}).items():
            yield alike[first], alike[second], bits


def _near_videos(videos: Sequence[dict[str, Any]], params: NearParams) -> dict[tuple[int, int], float]:
    """(place, place) -> bits apart, of videos with equally many frames."""
    from dj_assets.operators._hamming import near_pairs

    hashes = [video["phash"] for video in videos]
    codes = np.array([[int(one or "0", 16) for one in row] for row in hashes], dtype=np.uint64)
    present = np.array([[one is not None for one in row] for row in hashes])
    found = near_pairs(codes, present, params.max_distance, least_places=_least_places(codes.shape[1]))
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
