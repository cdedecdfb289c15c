"""What filters share that look at single frames through a model of the Hugging Face hub, by transformers.

Frames come from Data-Juicer's samplers, in RGB and not turned, as its PyAV reader gives them. Each is looked at for
itself, in batches of bounded size, and no gradient is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.errors import DjAssetsError, TooShort
from dj_assets.frames import FramePlan, Look, VideoInfo, Windows, keyframes, single, uniform
from dj_assets.operators._contract import Device, mean
from dj_assets.operators._device import require_cuda, without_gpu_compiler
from dj_assets.operators._weights import ModelParams, WeightsError

Pictures = npt.NDArray[np.uint8]
"""[N, H, W, 3], RGB."""

BATCH_PICTURES = {"cpu": 8, "cuda": 64}
"""Of one forward pass, as the network takes them (a few hundred pixels a side)."""

REDUCERS: dict[str, Callable[[npt.NDArray[np.float64]], float]] = {
    "avg": mean,
    "max": lambda values: float(np.max(values)),
    "min": lambda values: float(np.min(values)),
}

IGNORED = {
    "trust_remote_code": "code that comes with weights is never run",
    "video_backend": "videos are always decoded by PyAV; both backends upstream give the same key frames",
}

REFUSED = {"frame_field": "frames kept in a manifest field are not read here; list the video file under videos"}


class SampledParams(ModelParams):
    """Which frames are looked at."""

    frame_sampling_method: Literal["all_keyframes", "uniform"] = Field(
        "all_keyframes", description="all_keyframes or uniform"
    )
    frame_num: int = Field(3, ge=1, description="frames of uniform sampling, 1 or more")

    def canonical(self) -> dict[str, Any]:
        """Without `frame_num` where every key frame is looked at, whatever it is."""
        options = super().canonical()
        if self.frame_sampling_method == "all_keyframes":
            options.pop("frame_num", None)
        return options


class FrameParams(SampledParams):
    """And how their numbers become the video's."""

    reduce_mode: Literal["avg", "max", "min"] = Field("avg", description="avg, max or min over the frames")


def plan(info: VideoInfo, params: SampledParams) -> FramePlan:
    """Single frames in RGB, rotation not applied."""
    if info.num_frames_from_scan < 1:
        raise TooShort("the video has no frames", allowed="at least 1 frame", try_="fetch it again")
    is_uniform = params.frame_sampling_method == "uniform"
    return single(uniform(info, params.frame_num) if is_uniform else keyframes(info), Look("rgb24"))


def reduce_by(params: FrameParams) -> Callable[[npt.NDArray[np.float64]], float]:
    """The reducer that `reduce_mode` names."""
    return REDUCERS[params.reduce_mode]


@dataclass(frozen=True, eq=False)
class Network:
    """A module of torch in evaluation mode, on a device, and the processor that prepares its pictures."""

    module: Any
    processor: Any
    device: Device

    def each(self, pictures: Pictures, look: Callable[[Any], Any]) -> npt.NDArray[np.float64]:
        """What `look` makes of the prepared batches, one row per picture. look: inputs of n pictures -> [n, ...]."""
        import torch

        found = []
        with torch.inference_mode():
            for batch in in_batches(pictures, BATCH_PICTURES[self.device]):
                own = [*batch.copy()]  # torch warns of arrays that cannot be written to
                inputs = self.processor(images=own, return_tensors="pt", input_data_format="channels_last")
                found.append(look(inputs.to(self.device)).float().cpu().numpy())
        return np.concatenate(found).astype(np.float64)


def in_batches(pictures: Pictures, size: int) -> Iterator[Pictures]:
    """Views of up to `size` pictures."""
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]


class ModelError(DjAssetsError):
    """The model is of another kind than the operator needs."""


def module_from(kind: Any, folder: Path, device: Device, *, dtype: str = "float32") -> Any:
    """A network from a folder, in evaluation mode, on a device. kind: a model class of transformers. dtype: of its
    arithmetic; `auto` is what its weights are kept in.

    Raises `WeightsError`, also where the folder lacks some of the weights, which transformers would make up; and
    `DeviceError`.
    """
    if device == "cuda":
        require_cuda("a model")
    module, told = from_folder(kind.from_pretrained, folder, dtype=dtype, output_loading_info=True)
    if absent := sorted(told["missing_keys"]):
        raise WeightsError(
            f"{folder} lacks {len(absent)} of the weights that a {kind.__name__} has: {', '.join(absent[:3])}",
            allowed="a model of the kind that the operator needs, whole",
            try_="name another model, or fetch it again",
        )
    return module.eval().to(device)


def from_folder(load: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """What a `from_pretrained` makes of a folder, without the network and without code from the folder.

    Raises `WeightsError` where it cannot, naming the folder.
    """
    try:
        return load(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # of safetensors, of pickle, of JSON, of transformers, of a vocabulary: all mean the folder
        raise WeightsError(
            f"{folder} cannot be loaded: {' '.join(str(error).split())[:300]}",
            allowed="a whole model as save_pretrained writes it, of a kind that transformers itself knows",
            try_="look into the folder, or fetch it again",
        ) from error


def import_transformers(device: Device) -> Any:
    """The package, quiet and offline in this process."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # whatever it would like to look up
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if device == "cpu":
        without_gpu_compiler()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what weights lack is told by `module_from`
    return transformers


def load_classifier(folder: Path, device: Device) -> Network:
    """An image classifier. Raises `WeightsError`, `DeviceError`."""
    transformers = import_transformers(device)
    module = module_from(transformers.AutoModelForImageClassification, folder, device)
    return Network(module, from_folder(transformers.AutoImageProcessor.from_pretrained, folder), device)


def second_label(pictures: Pictures, model: Network) -> npt.NDArray[np.float64]:
    """Softmax of a classifier's second label, float64 [N], 0 to 1. Raises `ModelError` where it has one label only."""
    logits = model.each(pictures, lambda inputs: model.module(**inputs).logits)
    if logits.shape[1] < 2:
        raise ModelError(
            f"the model tells {logits.shape[1]} label apart",
            allowed="a classifier whose second label is what is looked for",
            try_="name another model",
        )
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares[:, 1] / shares.sum(axis=1)


def pictures_of(windows: Windows) -> Pictures:
    """The frames of windows of one. windows.data: uint8 [N, 1, H, W, 3]."""
    return windows.data[:, 0]
