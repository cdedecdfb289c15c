"""Keeps the first of the samples that have equal videos: equal by the bytes of their packets.

Source: `VideoDeduplicator` of Data-Juicer 1.6.1. It hashes the videos of a sample one after another, each path once;
here each video has a digest of its own, and samples are compared by the digests of their distinct paths, in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from dj_assets.frames import VideoInfo
from dj_assets.operators._contract import NoParams, Operator, Params, Scores, Stat
from dj_assets.operators._whole import Applicant, Candidate, Choice, Related, Whole, first_of_each


class VideoDeduplicatorParams(Params):
    """Options that change which samples stay."""

    consider_text: bool = Field(False, description="whether samples must have the same text as well: true or false")


def read(info: VideoInfo, params: NoParams) -> Scores:
    """How many bytes the packets of all video streams hold, and their MD5."""
    if info.packets is None:
        raise LookupError("the packets were not hashed; the engine does that where `reads_packets` is set")
    return Scores(np.array([float(info.packets.num_bytes)]), (info.packets.md5,))


def paper(applicant: Applicant, params: VideoDeduplicatorParams) -> list[str] | None:
    """What a sample is known by: the digests of its distinct paths, in order, and of its text where that counts.

    None where it has neither: it always stays. So with `consider_text` a sample without videos goes where another one
    without videos has its text, as upstream.
    """
    by_path = dict(zip(applicant.paths, (texts[0] for texts in applicant.details), strict=True))
    digests = list(by_path.values())
    if params.consider_text:
        text = (applicant.text or "").strip().encode("utf-8", "surrogatepass")
        return [*digests, f"text {hashlib.md5(text, usedforsecurity=False).hexdigest()}"]
    return digests or None


def choose(candidates: Sequence[Candidate], params: VideoDeduplicatorParams, related: Related) -> Choice:
    """The first sample of each set of equal ones."""
    return first_of_each(
        candidates,
        lambda candidate: None if candidate.text == "null" else candidate.text,
        says=lambda stays: f"a copy of {stays}, which comes first",
    )


def keeps(params: VideoDeduplicatorParams) -> str:
    """The rule in words."""
    return f"the first sample of those with equal videos{' and equal text' if params.consider_text else ''}"


OPERATOR = Whole(
    name="video_deduplicator",
    version=1,
    summary="exact copies, by the bytes of all video packets: container, metadata and sound do not count",
    kind="deduplicator",
    params=VideoDeduplicatorParams,
    paper=paper,
    choose=choose,
    keeps=keeps,
    measure=Operator(
        name="video_deduplicator",
        version=1,
        summary="bytes of all video packets, and their MD5",
        compute="header",
        params=NoParams,
        stats=(Stat("video_packet_bytes", unit="bytes", is_integer=True),),
        bounds=(),
        read=read,
        reads_packets=True,
    ),
)
