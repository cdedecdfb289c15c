"""Keeps samples whose videos move by a mean of `min_score` to `max_score` pixels between sampled frames, by RAFT.

Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow" (ECCV 2020), in torchvision's large model
with its weights C_T_SKHT_V2, over the frame pairs that Data-Juicer compares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from dj_assets.errors import TooLarge
from dj_assets.frames import FramePlan, Size, VideoInfo, Windows
from dj_assets.operators._contract import MAX_FLOAT, Bound, Device, Operator, Requirement, Scores, Stat
from dj_assets.operators._device import require_cuda, without_gpu_compiler
from dj_assets.operators._motion_pairs import PairParams, sampled_pairs
from dj_assets.operators._weights import DIGEST, WeightsError, WeightsFile, WeightsParams

if TYPE_CHECKING:
    from torch import Tensor

STAT = "video_motion_score"

WEIGHTS_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
WEIGHTS_URL = f"https://download.pytorch.org/models/{WEIGHTS_FILE}"
"""torchvision's default, which upstream loads. Its name holds the start of its SHA-256."""

STRIDE_PX = 8
LEAST_SIDE_PX = 128
"""What the network takes: sides that are multiples of 8, and at least 16 cells of them for its pyramid."""

BATCH_BYTES = {"cpu": 0, "cuda": 4 * 2**30}
"""Of all-pairs volumes in one forward pass; one pair where a single one is larger."""


class RaftParams(PairParams, WeightsParams):
    """Options that change the motion score. Sizes in pixels."""

    divisible: int = Field(8, ge=1, description="both sides are cut to multiples of this many pixels")
    weights_folder: str | None = Field(
        None, description=f"folder that holds {WEIGHTS_FILE}, or a .pth file of your own for raft_large"
    )
    revision: str | None = Field(
        None, description="start of the file's SHA-256 (ff5fadd5), or files:<digest>; null: the file that is found"
    )

    @field_validator("revision")
    @classmethod
    def _is_a_digest(cls, revision: str | None) -> str | None:
        if revision is None or revision == known_file().sha256_start or DIGEST.fullmatch(revision):
            return revision
        raise ValueError("it says nothing of a file's bytes")

    @property
    def file(self) -> WeightsFile:
        """The weights that are wanted."""
        return known_file(self.weights_folder, self.revision, self.allow_download)

    def on(self, device: Device) -> Self:
        """With the revision of the file that is found, or of the known one where none is and none is named."""
        if self.revision is not None:
            return self
        found = self.file.found()
        if found is None and self.weights_folder is not None:
            return self
        return self.model_copy(update={"revision": found.revision if found else known_file().sha256_start})


def known_file(folder: str | None = None, revision: str | None = None, allow_download: bool = False) -> WeightsFile:
    """torchvision's file, in the places where it may lie."""
    return WeightsFile(WEIGHTS_FILE, WEIGHTS_URL, folder, revision, allow_download)


def plan(info: VideoInfo, params: RaftParams) -> FramePlan:
    """Pairs in colour, see `sampled_pairs`."""
    return sampled_pairs(info, params, "bgr24")


def requires(params: RaftParams, device: Device) -> tuple[Requirement, ...]:
    """The file."""
    return (params.file,)


def load(params: RaftParams, device: Device) -> Raft:
    """The network with its weights. Raises `WeightsError`, `DeviceError`."""
    file = params.file
    found = file.found()
    if found is None:
        raise file.missing() or WeightsError(f"{WEIGHTS_FILE} is not on this machine", try_="fetch it")
    if device == "cuda":
        require_cuda("RAFT")
    else:
        without_gpu_compiler()
    import torch
    from torchvision.models.optical_flow import raft_large

    network = raft_large(weights=None, progress=False)
    try:
        network.load_state_dict(torch.load(found.path, map_location="cpu", weights_only=True))
    except Exception as error:  # of pickle, of torch, of the operating system: all mean the file
        raise WeightsError(
            f"{found.path} does not hold weights of raft_large: {' '.join(str(error).split())[:200]}",
            allowed=f"a state dict as {WEIGHTS_FILE} is one",
            try_="fetch it again",
        ) from error
    return Raft(network.eval().to(device), device)


@dataclass(frozen=True, eq=False)
class Raft:
    """torchvision's module in evaluation mode, on `device`."""

    network: Any
    device: Device

    def mean_lengths(self, pairs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Mean length of each pair's flow in pixels of these pictures. pairs: BGR, uint8 [N, 2, H, W, 3].

        Raises `TooLarge` where a single pair does not fit into the memory of the device.
        """
        found = np.empty(len(pairs), dtype=np.float64)
        start, at_once = 0, self._at_once(Size(*pairs.shape[2:4]))
        while start < len(pairs):
            lengths = self._lengths_if_they_fit(pairs[start : start + at_once])
            if lengths is None and at_once == 1:
                raise _too_large(Size(*pairs.shape[2:4]), self.device)
            if lengths is None:
                at_once = (at_once + 1) // 2
                continue
            found[start : start + len(lengths)] = lengths
            start += len(lengths)
        return found

    def _at_once(self, size: Size) -> int:
        return max(1, BATCH_BYTES[self.device] // volume_bytes(seen_size(size)))

    def _lengths_if_they_fit(self, pairs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64] | None:
        import torch

        try:
            with torch.inference_mode():
                return self._lengths(pairs).double().cpu().numpy()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            if "allocate memory" not in str(error):  # which is how torch says it on the CPU
                raise
        return None

    def _lengths(self, pairs: npt.NDArray[np.uint8]) -> Tensor:
        """float32 [N]."""
        import torch
        from torch.nn.functional import interpolate

        size = Size(*pairs.shape[2:4])
        seen = seen_size(size)
        frames = torch.from_numpy(pairs[..., ::-1].copy()).to(self.device)  # BGR to RGB
        before, after = (frames[:, which].permute(0, 3, 1, 2).float() / 127.5 - 1 for which in (0, 1))
        if seen != size:
            before, after = (interpolate(one, seen, mode="bilinear", antialias=True) for one in (before, after))
        flow = self.network(before, after)[-1]
        # In pixels of the pictures that came: x first.
        flow = flow * flow.new_tensor([size.width / seen.width, size.height / seen.height]).view(1, 2, 1, 1)
        return torch.linalg.vector_norm(flow, dim=1).mean(dim=(1, 2))


def seen_size(size: Size) -> Size:
    """The size at which the network looks at a picture: its own, unless that is too small or no multiple of 8.

    >>> seen_size(Size(360, 640))
    Size(height=360, width=640)
    >>> seen_size(Size(100, 250))
    Size(height=128, width=248)
    """
    return Size(*(max(LEAST_SIDE_PX, round(side / STRIDE_PX) * STRIDE_PX) for side in size))


def volume_bytes(size: Size) -> int:
    """Of one pair's similarities of all cells with all, with the coarser ones (a third more), in float32."""
    cells = math.prod(size) // STRIDE_PX**2
    return 4 * cells * cells * 4 // 3


def _too_large(size: Size, device: Device) -> TooLarge:
    return TooLarge(
        f"RAFT's flow of pictures of {size.width}x{size.height} needs more memory than {device} has left",
        allowed=f"about {2 * volume_bytes(seen_size(size)) >> 20} MB free",
        try_="set size or max_size in the recipe's step",
    )


def score(windows: Windows, params: RaftParams, model: Raft) -> Scores:
    """Mean flow length of each pair in pixels, or as a share of the diagonal. windows.data: uint8 [N, 2, H, W, 3]."""
    values = model.mean_lengths(windows.data)
    if params.relative:
        values /= math.hypot(*windows.data.shape[2:4])
    return Scores(values)


OPERATOR = Operator(
    name="video_motion_score_raft_filter",
    version=1,
    summary="mean length of RAFT's optical flow in pixels between frames sampled at sampling_fps",
    compute="gpu",
    params=RaftParams,
    stats=(Stat(STAT, unit="px per sampled pair, or share of the diagonal if relative"),),
    bounds=(
        Bound("min_score", STAT, "min", 1.0, help="pixels, or a share of the diagonal if relative"),
        Bound("max_score", STAT, "max", MAX_FLOAT, help="pixels, or a share of the diagonal"),
    ),
    plan=plan,
    load=load,
    requires=requires,
    score=score,
    device_moves_number=True,
    ignored={
        "if_output_optical_flow": "raw flow is never written into the dataset",
        "optical_flow_key": "raw flow is never written into the dataset",
        "original_fps": "it belongs to frame_field",
    },
    refused={"frame_field": "frames kept in a manifest field are not read here; list the video file under videos"},
)
