"""EasyOCR's own call, or our text operator as in a worker, over the same frames (a program of `benchmarks.contest`)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.contest import serve
from dj_assets.workers import keep_freed_memory

OCR = "video_ocr_area_ratio_filter"
EASYOCR = "EasyOCR"

_frames: dict[str, Any] = {}


def main() -> None:
    serve({"read": read, "load": load, "ratio": ratio})


def read(path: str, count: int) -> list[str]:
    """Decode the frames that the operator looks at in a clip; returns their names, by which `ratio` knows them."""

    names: list[str] = []

    def keep(windows: Any) -> None:
        for number, (index,) in enumerate(windows.frames):
            names.append(f"{Path(path).name} frame {index}")
            here = slice(number, number + 1)
            _frames[names[-1]] = replace(
                windows,
                data=windows.data[here].copy(),
                frames=windows.frames[here].copy(),
                pts_seconds=windows.pts_seconds[here].copy(),
            )

    with ours.scored_by(keep):
        ours.checked(ours.outcome_of(path, [{OCR: {"frame_sample_num": count}}]))
    return names


def load(detector: str) -> None:
    """Have a detector ready. detector: EASYOCR, or a precision of our operator; its process then keeps freed memory, as
    workers do."""
    if detector == EASYOCR:
        _easyocr()
    else:
        keep_freed_memory(beside_model=True)
        _ours(detector)


def ratio(detector: str, frame: str) -> float:
    """Text area over picture area of one frame."""
    windows = _frames[frame]
    return _their_ratio(windows.data[0, 0]) if detector == EASYOCR else _our_ratio(detector, windows)


def _our_ratio(precision: str, windows: Any) -> float:
    operator, params, model = _ours(precision)
    return float(operator.score(windows, params, model).values[0])


def _their_ratio(picture: Any) -> float:
    """EasyOCR's call and arithmetic, as py-data-juicer's operator has them."""
    import numpy as np

    from dj_assets.operators.video_ocr_area_ratio_filter import text_area

    lines, slanted = _easyocr().detect(np.array(picture))
    rectangles = [[int(x_min), int(y_min), int(x_max), int(y_max)] for x_min, x_max, y_min, y_max in lines[0]]
    corners = [[[float(x), float(y)] for x, y in points] for points in slanted[0]]
    return text_area(rectangles, corners) / (picture.shape[0] * picture.shape[1])


@cache
def _ours(precision: str) -> tuple[Any, Any, Any]:
    from dj_assets import operators

    operator = operators.get(OCR)
    chosen = {"precision": precision} if "precision" in operator.params.model_fields else {}
    params = operator.params(frame_sample_num=3, **chosen)
    return operator, params, operator.load(params, "cpu")


@cache
def _easyocr() -> Any:
    import easyocr

    from dj_assets.operators.video_ocr_area_ratio_filter import weights_folder

    folder = str(weights_folder())
    return easyocr.Reader(
        ["en"],
        gpu=False,
        model_storage_directory=folder,
        user_network_directory=folder,
        download_enabled=False,
        recognizer=False,
        verbose=False,
    )


if __name__ == "__main__":
    main()
