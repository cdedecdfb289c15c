"""Keeps samples whose videos show a face on a share of at least `threshold` of the frames.

Faces are found by dlib's frontal detector: histograms of oriented gradients, after Dalal and Triggs (CVPR 2005), with
the weights that dlib brings. It knows faces of about 80 pixels and more that look into the camera.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import FramePlan, Look, VideoInfo, Windows, single
from dj_assets.operators._contract import Bound, Device, Operator, Panel, Params, Requirement, Scores, Stat, View
from dj_assets.operators._weights import Package

STAT = "video_face_exist"

DLIB = Package("dlib", "'dj-assets[faces]'", "the face detector")


class FaceParams(Params):
    """Options that change the share of frames with a face."""

    detect_interval: int = Field(1, ge=1, description="every so many frames one is looked at, 1 or more")


def plan(info: VideoInfo, params: FaceParams) -> FramePlan:
    """Of every `detect_interval` frames the last one, in BGR, rotation not applied, as Data-Juicer counts them."""
    found = np.arange(params.detect_interval - 1, info.num_frames_from_scan, params.detect_interval)
    if not len(found):
        raise TooShort(
            f"the video has {info.num_frames_from_scan} frames",
            allowed=f"at least {params.detect_interval}, for every {params.detect_interval}th is looked at",
            try_="set a smaller detect_interval",
        )
    return single(found, Look("bgr24"))


def requires(params: FaceParams, device: Device) -> tuple[Requirement, ...]:
    """dlib, which is an extra."""
    return (DLIB,)


def load(params: FaceParams, device: Device) -> Any:
    """dlib's detector. Raises `WeightsError`."""
    DLIB.fetch()
    import dlib

    return dlib.get_frontal_face_detector()


def score(windows: Windows, params: FaceParams, model: Any) -> Scores:
    """1 for each frame with a face, else 0. windows.data: uint8 [N, 1, H, W, 3].

    A window's detail is JSON: {"faces": [[x_min, y_min, x_max, y_max], ...]}, in pixels; boxes may leave the picture.
    """
    found = [faces(picture, model) for picture in windows.data[:, 0]]
    details = tuple(json.dumps({"faces": boxes}, separators=(",", ":")) for boxes in found)
    return Scores(np.array([float(bool(boxes)) for boxes in found]), details)


def faces(picture: npt.NDArray[np.uint8], model: Any) -> list[list[int]]:
    """Boxes of the faces of one picture, uint8 [H, W, 3]."""
    boxes = model(np.ascontiguousarray(picture))
    return [[box.left(), box.top(), box.right(), box.bottom()] for box in boxes]


def draw(views: Iterable[View], params: FaceParams) -> list[tuple[Panel, ...]]:
    """Each frame with its faces, as they are stored, in red."""
    return [(_boxed(view),) for view in views]


RED = (255, 0, 0)


def _boxed(view: View) -> Panel:
    import cv2

    if not view.detail:
        return Panel(view.pictures[0])
    boxes = np.array(json.loads(view.detail)["faces"]).reshape(-1, 2, 2)
    canvas = view.pictures[0].copy()
    (height, width), (seen_height, seen_width) = canvas.shape[:2], view.seen.shape[1:3]
    for begin, end in np.rint(boxes * [width / seen_width, height / seen_height]).astype(int).tolist():
        cv2.rectangle(canvas, begin, end, RED, 2)
    return Panel(canvas, f"{len(boxes)} {'face' if len(boxes) == 1 else 'faces'}" if len(boxes) else "no face found")


OPERATOR = Operator(
    name="video_face_ratio_filter",
    version=1,
    summary="share (ratio) of the frames that show a face, by dlib's frontal detector, over every detect_interval-th",
    compute="cpu",
    params=FaceParams,
    stats=(Stat(STAT, unit="ratio", high=1.0),),
    bounds=(Bound("threshold", STAT, "min", 0.8, help="a share of the frames, 0 to 1"),),
    plan=plan,
    load=load,
    requires=requires,
    score=score,
    draw=draw,
    any_or_all_default="all",
)
