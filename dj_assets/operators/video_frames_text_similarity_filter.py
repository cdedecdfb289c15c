"""Keeps samples whose videos look like their text by `min_score` to `max_score`.

CLIP (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021), or another
model of two towers, looks at each sampled frame and at the text that is about its video.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dj_assets.frames import Windows
from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Bound, Device, Operator, Scores, Stat
from dj_assets.operators._weights import model_requirements, weights_of

STAT = "video_frames_text_similarity"

KEPT_VECTORS = 2048
"""Of frames and of texts, each: a clip with twenty captions is looked at once."""

LOGITS_PER_UNIT = 100.0
"""By which upstream divides: of the published models the scale of a cosine, so that what is left is the cosine."""

Floats = npt.NDArray[np.float64]


class SimilarityParams(frames.FrameParams):
    """Options that change the similarity."""

    hf_clip: str = Field("openai/clip-vit-base-patch32", description="a CLIP of the hub, or its folder")
    horizontal_flip: bool = Field(False, description="true: frames are mirrored, left to right")
    vertical_flip: bool = Field(False, description="true: frames are turned over, top to bottom")

    model_option: ClassVar[str] = "hf_clip"
    pins: ClassVar[Mapping[str, str]] = {"openai/clip-vit-base-patch32": "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"}


@dataclass(frozen=True, eq=False)
class Towers:
    """A model that turns pictures and texts into vectors of one space. scale: of a cosine in its logits."""

    network: frames.Network
    tokenizer: Any
    scale: float
    most_tokens: int
    _pictures: OrderedDict[bytes, Floats] = field(default_factory=OrderedDict)
    _texts: OrderedDict[bytes, Floats] = field(default_factory=OrderedDict)

    def of_pictures(self, pictures: frames.Pictures) -> Floats:
        """Vectors of length 1, float64 [N, D]."""
        keys = [hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest() for picture in pictures]
        shape = repr(pictures.shape[1:]).encode()

        def look(missing: Sequence[int]) -> Floats:
            return self.network.each(pictures[list(missing)], self._picture_vectors)

        return remembered(self._pictures, [shape + key for key in keys], look)

    def of_texts(self, texts: Sequence[str]) -> Floats:
        """Vectors of length 1, float64 [N, D]. What is longer than the model reads is cut."""
        return remembered(
            self._texts, [text.encode() for text in texts], lambda missing: self._read([texts[n] for n in missing])
        )

    def _picture_vectors(self, inputs: Any) -> Any:
        return _unit(self.network.module.get_image_features(pixel_values=inputs["pixel_values"]))

    def _read(self, texts: Sequence[str]) -> Floats:
        import torch

        inputs = self.tokenizer(
            list(texts), return_tensors="pt", truncation=True, max_length=self.most_tokens, padding=True
        ).to(self.network.device)
        with torch.inference_mode():
            found = _unit(self.network.module.get_text_features(**inputs))
        return found.float().cpu().numpy().astype(np.float64)


def _unit(output: Any) -> Any:
    """Of vectors, or of a model's output that holds them: scaled to length 1."""
    vectors = getattr(output, "pooler_output", output)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def remembered(
    known: OrderedDict[bytes, Floats], keys: Sequence[bytes], compute: Callable[[Sequence[int]], Floats]
) -> Floats:
    """What stands for each key, float64 [N, D]. compute(places): for some of the keys, each distinct one once.

    known: grows by what was computed, and forgets what was asked for longest ago.
    """
    places: dict[bytes, int] = {}
    for place, key in enumerate(keys):
        if key not in known:
            places.setdefault(key, place)
    new = dict(zip(places, compute([*places.values()]), strict=True)) if places else {}
    found = np.stack([new[key] if key in new else known[key] for key in keys])
    for key in dict.fromkeys(keys):
        known[key] = new[key] if key in new else known[key]
        known.move_to_end(key)
    while len(known) > KEPT_VECTORS:
        known.popitem(last=False)
    return found


def load(params: SimilarityParams, device: Device) -> Towers:
    """The model with its tokenizer. Raises `WeightsError`, `DeviceError`, `ModelError`."""
    folder = weights_of(params)
    transformers = frames.import_transformers(device)
    module = frames.module_from(transformers.AutoModel, folder, device)
    has_towers = all(hasattr(module, name) for name in ("get_image_features", "get_text_features", "logit_scale"))
    if not has_towers or hasattr(module, "logit_bias"):
        raise frames.ModelError(
            f"{folder} holds a {type(module).__name__}",
            allowed="a model of two towers that is trained as CLIP is: CLIPModel, ChineseCLIPModel, AltCLIPModel",
            try_="name such a model in hf_clip",
        )
    processor = frames.from_folder(transformers.AutoImageProcessor.from_pretrained, folder)
    tokenizer = frames.from_folder(transformers.AutoTokenizer.from_pretrained, folder)
    return Towers(
        frames.Network(module, processor, device),
        tokenizer,
        scale=float(module.logit_scale.detach().exp()),
        most_tokens=int(module.config.text_config.max_position_embeddings),
    )


def score(windows: Windows, params: SimilarityParams, model: Towers) -> Scores:
    """How much each frame looks like its text, about -1 to 1. windows.data: uint8 [N, 1, H, W, 3]."""
    pictures = frames.pictures_of(windows)
    if params.horizontal_flip:
        pictures = pictures[:, :, ::-1]
    if params.vertical_flip:
        pictures = pictures[:, ::-1]
    cosines = (model.of_pictures(pictures) * model.of_texts(windows.texts)).sum(axis=1)
    return Scores(cosines * model.scale / LOGITS_PER_UNIT)


OPERATOR = Operator(
    name="video_frames_text_similarity_filter",
    version=1,
    summary="how much sampled frames look like the text that is about the video, by CLIP: a cosine, usually 0.1 to 0.4",
    compute="gpu",
    params=SimilarityParams,
    stats=(Stat(STAT, unit="cosine", low=-1.0, high=1.0),),
    bounds=(
        Bound("min_score", STAT, "min", 0.1, help="a cosine, -1 to 1"),
        Bound("max_score", STAT, "max", 1.0, help="a cosine, -1 to 1"),
    ),
    plan=frames.plan,
    load=load,
    requires=model_requirements,
    score=score,
    reduce_by=frames.reduce_by,
    reads_text=True,
    device_moves_number=True,
    ignored=frames.IGNORED,
)
