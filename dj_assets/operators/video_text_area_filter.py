"""Keeps samples whose videos show text on `min_area_ratio` to `max_area_ratio` of the picture.

Ours, not Data-Juicer's: the fast tier beside `video_ocr_area_ratio_filter`. Text is found by the small detector of
PP-OCRv6, a network after Liao et al., "Real-time Scene Text Detection with Differentiable Binarization" (AAAI 2020),
on pictures of at most 640 pixels; its weights lie in the package rapidocr.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import TooShort
from dj_assets.frames import FramePlan, Look, Size, VideoInfo, Windows, single, uniform
from dj_assets.operators._contract import Bound, Device, Operator, Panel, Params, Scores, Stat, View
from dj_assets.operators._weights import Checked, WeightsError

WEIGHTS_FILE = "models/PP-OCRv6_det_small.onnx"
WEIGHTS_SHA256 = "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"

MEAN_BGR = (0.485, 0.456, 0.406)
DEVIATION_BGR = (0.229, 0.224, 0.225)
"""Of PaddleOCR, which trained the network. With 0.5 and 0.5, as rapidocr has it, more is found that is no text."""

STRIDE_PX = 32
"""The network takes sides that are multiples of it."""

LEAST_SIDE_PX = 8
"""Where a scaled picture is thinner, no text in it could be read."""

MIN_PROBABILITY = 0.3
MIN_BOX_PROBABILITY = 0.5
UNCLIP_RATIO = 1.6
MAX_BOXES = 1000
LEAST_CORE_PX = 3
"""As rapidocr's configuration has them: a pixel's probability, a box's mean, how far boxes grow beyond the shrunken
cores that the network is trained to find, how many may be, and the thinnest core."""


class TextAreaParams(Params):
    """Options that change the text area found."""

    frame_sample_num: int = Field(3, ge=1, description="frames looked at, evenly spaced, 1 or more")
    longest_side: int = Field(
        640, ge=32, le=4096, description="pixels that larger pictures are scaled down to, 32 to 4096"
    )
    max_line_height: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the picture's shorter side, above 0 up to 1; what is thicker is an object, not text",
    )


Boxes = npt.NDArray[np.float64]
"""[n, 4, 2]: corners of turned rectangles as (x, y), in pixels of the picture that was looked at."""


def looked_at_size(size: Size, longest_side: int) -> Size:
    """Size at which a displayed picture is looked at: scaled down, never up, to multiples of 32, at least 32.

    Left at its own shape where it is too thin to hold text.

    >>> looked_at_size(Size(1080, 1920), 640)
    Size(height=352, width=640)
    """
    scale = min(1.0, longest_side / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    if min(height, width) < LEAST_SIDE_PX:
        return Size(height, width)
    return Size(*(max(1, int(side / STRIDE_PX + 0.5)) * STRIDE_PX for side in (height, width)))


def plan(info: VideoInfo, params: TextAreaParams) -> FramePlan:
    """The frames that `video_ocr_area_ratio_filter` looks at, small, turned as players do."""
    if info.num_frames_from_scan < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    look = Look("bgr24", looked_at_size(info.displayed_size, params.longest_side), apply_rotation=True)
    return single(uniform(info, params.frame_sample_num), look)


def weights_path() -> Path:
    """The checked weights in the installed package rapidocr, which is not imported. Raises `WeightsError`."""
    found = importlib.util.find_spec("rapidocr")
    if found is None or found.origin is None:
        raise WeightsError(
            "the weights of the quick text detector are not installed",
            allowed=f"{WEIGHTS_FILE} from the package rapidocr",
            try_="pip install rapidocr==3.10.0",
        )
    path = Path(found.origin).parent / WEIGHTS_FILE
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist", allowed="rapidocr in a release that holds it", try_="pip install rapidocr==3.10.0"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise WeightsError(
            f"{path} has SHA-256 {digest}",
            allowed=WEIGHTS_SHA256,
            try_="pip install --force-reinstall rapidocr==3.10.0",
        )
    return path


def load(params: TextAreaParams, device: Device) -> Any:
    """The network, for as many threads as OpenCV has here: one in a worker. Raises `WeightsError`."""
    import cv2
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, cv2.getNumThreads())
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores alone
    options.enable_cpu_mem_arena = False  # else it keeps the memory of the largest picture
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(weights_path()), options, providers=["CPUExecutionProvider"])


def score(windows: Windows, params: TextAreaParams, model: Any) -> Scores:
    """Share of each picture that text boxes cover, overlaps counted once. windows.data: uint8 [N, 1, H, W, 3], BGR.

    A window's detail is JSON: {"boxes": [[[x, y] * 4], ...]}, in pixels of the picture that was looked at.
    """
    values = np.empty(len(windows), dtype=np.float64)
    details = []
    for index, (picture,) in enumerate(windows.data):
        boxes = detect(picture, params, model)
        values[index] = covered_share(boxes, Size(*picture.shape[:2]))
        details.append(json.dumps({"boxes": boxes.tolist()}, separators=(",", ":")))
    return Scores(values, tuple(details))


def detect(picture: npt.NDArray[np.uint8], params: TextAreaParams, model: Any) -> Boxes:
    """Text lines in a BGR picture, uint8 [H, W, 3], as boxes to a tenth of a pixel. They may reach beyond its edges."""
    import cv2

    height, width = picture.shape[:2]
    if min(height, width) < LEAST_SIDE_PX:
        return np.empty((0, 4, 2))
    rows, columns = looked_at_size(Size(height, width), max(height, width))
    fitting = cv2.resize(picture, (columns, rows)) if (rows, columns) != (height, width) else picture
    scaled = (fitting / np.float32(255) - np.array(MEAN_BGR, np.float32)) / np.array(DEVIATION_BGR, np.float32)
    [probabilities] = model.run(None, {model.get_inputs()[0].name: scaled.transpose(2, 0, 1)[None]})
    found = boxes_of(probabilities[0, 0]) * [width / columns, height / rows]
    thickness = np.linalg.norm(found[:, [1, 2]] - found[:, [0, 1]], axis=2).min(axis=1, initial=np.inf)
    return np.round(found[thickness <= params.max_line_height * min(height, width)], 1)


def boxes_of(probabilities: npt.NDArray[np.float32]) -> Boxes:
    """Boxes of a map of how likely each pixel is the core of a line of text, float32 [H, W].

    What rapidocr's DBPostProcess finds. Where that grows a polygon and takes the least rectangle around it, this grows
    the rectangle, which comes to the same.
    """
    import cv2

    likely = cv2.dilate((probabilities > MIN_PROBABILITY).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(likely, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in contours[:MAX_BOXES]:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < LEAST_CORE_PX:
            continue
        if _mean_inside(probabilities, cv2.boxPoints((centre, (width, height), angle))) < MIN_BOX_PROBABILITY:
            continue
        margin = width * height * UNCLIP_RATIO / (2 * (width + height))
        boxes.append(cv2.boxPoints((centre, (width + 2 * margin, height + 2 * margin), angle)))
    return np.array(boxes, dtype=np.float64).reshape(-1, 4, 2)


def _mean_inside(probabilities: npt.NDArray[np.float32], corners: npt.NDArray[np.float32]) -> float:
    """Mean of the map over a rectangle, of which only the part around it is looked at."""
    import cv2

    rows, columns = probabilities.shape
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (columns - 1, rows - 1))
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (columns - 1, rows - 1))
    mask = np.zeros((bottom - top + 1, right - left + 1), dtype=np.uint8)
    cv2.fillPoly(mask, [(corners - (left, top)).astype(np.int32)], 1)
    return float(cv2.mean(probabilities[top : bottom + 1, left : right + 1], mask)[0])


def covered_share(boxes: Boxes, size: Size) -> float:
    """Share of the picture that the boxes cover together, 0 to 1: overlaps count once, what is outside not at all.

    >>> covered_share(np.array([[[0, 0], [6, 0], [6, 5], [0, 5]], [[4, 0], [8, 0], [8, 5], [4, 5]]]), Size(10, 10))
    0.4
    """
    import shapely

    if not len(boxes):
        return 0.0
    inside = shapely.intersection(
        shapely.union_all(shapely.polygons(boxes)), shapely.box(0, 0, size.width, size.height)
    )
    return min(1.0, float(shapely.area(inside)) / (size.height * size.width))


RED = (255, 0, 0)


def draw(views: Iterable[View], params: TextAreaParams) -> list[tuple[Panel, ...]]:
    """Each frame with its text boxes, as they are stored, in red."""
    return [(_boxed(view),) for view in views]


def _boxed(view: View) -> Panel:
    import cv2

    if not view.detail:
        return Panel(view.pictures[0])
    boxes = np.array(json.loads(view.detail)["boxes"]).reshape(-1, 4, 2)
    canvas = view.pictures[0].copy()
    (height, width), (seen_height, seen_width) = canvas.shape[:2], view.seen.shape[1:3]
    corners = np.rint(boxes * [width / seen_width, height / seen_height]).astype(np.int32)
    cv2.polylines(canvas, [*corners], True, RED, 2, cv2.LINE_AA)
    said = f"{len(boxes)} {'line' if len(boxes) == 1 else 'lines'} of text" if len(boxes) else "no text found"
    return Panel(canvas, said)


OPERATOR = Operator(
    name="video_text_area_filter",
    version=1,
    summary="mean share (ratio) of the picture that lines of text cover, by PP-OCR's small detector, over "
    "frame_sample_num frames; ours, not Data-Juicer's",
    compute="cpu",
    params=TextAreaParams,
    stats=(Stat("video_text_area_ratio", unit="ratio", high=1.0),),
    bounds=(
        Bound("min_area_ratio", "video_text_area_ratio", "min", 0.0, help="a share of the picture, 0 to 1"),
        Bound("max_area_ratio", "video_text_area_ratio", "max", 1.0, help="a share of the picture, 0 to 1"),
    ),
    plan=plan,
    load=load,
    requires=lambda params, device: (Checked(weights_path),),
    score=score,
    draw=draw,
)
