"""The floor: what nobody can do without for the same number (a program of `benchmarks.contest`).

Motion: PyAV's sequential decode up to the last wanted frame with one thread; of the wanted frames `to_ndarray` in
bgr24, `cv2.cvtColor` to grey, `cv2.calcOpticalFlowFarneback` with the operator's defaults between neighbours. Text: the
same decode, `to_ndarray` in rgb24, the CRAFT network's forward pass over the frame as EasyOCR pads it, channels-last.
Freed memory is kept (`contest.KEEPS_MEMORY`). Not in it: opening safely, hashing, probing, the mean of the flow, boxes
out of heat maps, rows and files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.contest import serve

FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def main() -> None:
    import cv2

    cv2.setNumThreads(1)
    serve({"motion": motion, "decode": decode, "hashes": hashes, "text": text})


def motion(path: str, sequence: Sequence[int]) -> None:
    """sequence: frame indices whose neighbours are compared; an index may come twice."""
    import cv2

    before = None
    for picture in _greys(path, sequence):
        if before is not None:
            cv2.calcOpticalFlowFarneback(before, picture, None, **FARNEBACK)
        before = picture


def decode(path: str, sequence: Sequence[int]) -> None:
    """The same without the flow."""
    for _ in _greys(path, sequence):
        pass


def hashes(path: str, sequence: Sequence[int]) -> dict[str, str]:
    """Frame index -> digest of its grey pixels, found by decoding everything from the first frame on."""
    digests = (hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest() for picture in _greys(path, sequence))
    return {str(index): digest for index, digest in zip(sequence, digests, strict=True)}


def text(path: str, frames: Sequence[int], bf16: bool = False) -> None:
    """The network alone on these frames. Loading it is not in the first answer's cost if `text` was asked before."""
    import torch

    network = _network()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        for frame in _wanted(path, frames):
            network(_padded(frame.to_ndarray(format="rgb24")))


def _greys(path: str, sequence: Sequence[int]) -> Iterator[Any]:
    """Grey pictures in the order of the sequence; a repeated index gives the same picture again."""
    import cv2

    times = {index: list(sequence).count(index) for index in sequence}
    for index, frame in zip(times, _wanted(path, list(times)), strict=True):
        picture = cv2.cvtColor(frame.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY)
        for _ in range(times[index]):
            yield picture


def _wanted(path: str, frames: Sequence[int]) -> Iterator[Any]:
    """frames: strictly increasing."""
    import av

    left = set(frames)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        for index, frame in enumerate(container.decode(stream)):
            if index in left:
                left.remove(index)
                yield frame
            if not left:
                return
    raise ValueError(f"{path}: frames {sorted(left)} did not come")


@cache
def _network() -> Any:
    import easyocr_en_models
    import torch
    from easyocr.craft import CRAFT
    from easyocr.detection import copyStateDict

    torch.set_num_threads(1)
    network = CRAFT()
    weights = torch.load(
        Path(easyocr_en_models.model_dir()) / "craft_mlt_25k.pth", map_location="cpu", weights_only=True
    )
    network.load_state_dict(copyStateDict(weights))
    return network.eval().to(memory_format=torch.channels_last)


def _padded(picture: Any) -> Any:
    """uint8 [H, W, 3] as the network's float32 [1, 3, H', W'], as EasyOCR prepares it."""
    import torch
    from easyocr.imgproc import normalizeMeanVariance, resize_aspect_ratio

    resized, _, _ = resize_aspect_ratio(picture, 2560, interpolation=1, mag_ratio=1.0)
    values = torch.from_numpy(normalizeMeanVariance(resized)).permute(2, 0, 1)[None]
    return values.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
