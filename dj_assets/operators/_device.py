"""What operators that may run on a GPU ask of it."""

from __future__ import annotations

import sys

from dj_assets.errors import DjAssetsError


class DeviceError(DjAssetsError):
    """The device that was asked for cannot be used."""


def without_gpu_compiler() -> None:
    """For processes that compute on the CPU: torchvision imports Triton where it is there, 66 MB of memory and a second
    for nothing. To be called before torch is imported."""
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # None is Python's mark for "not importable"


def require_cuda(work: str) -> None:
    """Raises `DeviceError` where torch can use no NVIDIA GPU. work: what was to run there, as `text detection`."""
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(
            f"{work} is to run on an NVIDIA GPU, but torch finds none that it can use",
            allowed="a GPU with a driver that fits torch's CUDA, or the CPU",
            try_="set accelerator: cpu in the recipe, or DJ_ASSETS_DEVICE=cpu",
        )
