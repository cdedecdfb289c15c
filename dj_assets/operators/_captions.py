"""What mappers share that have a model of transformers describe a video: candidates, and which of them stays.

Words are decoded without lots: by beams, as many as candidates are wanted, the most probable first. So the same video
gets the same words again, which upstream's sampling does not give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dj_assets.operators import _frame_models as frames
from dj_assets.operators._contract import Device
from dj_assets.operators._mapper import Product
from dj_assets.operators._weights import ModelParams

REFUSED = {
    "prompt_key": "a prompt of each sample's own is not read here; set prompt",
    "frame_field": "frames kept in a manifest field are not read here; list the video file under videos",
    "caption_field": "words go into the sample's text, after the video's token; leave it out",
    "sampling_params": "words are decoded without lots, so that they are the same again; leave it out",
    "model_params": "the model is loaded as its folder says; leave it out",
}

IGNORED = {
    "trust_remote_code": "code that comes with weights is never run",
    "legacy_split_by_text_token": "words always come after the video tokens of the text",
}


class CaptionParams(ModelParams):
    """Options that change the words."""

    caption_num: int = Field(1, ge=1, le=32, description="candidates for each video, 1 to 32")
    keep_candidate_mode: Literal["random_any", "similar_one_simhash", "all"] = Field(
        "random_any",
        description="random_any: the most probable candidate; similar_one_simhash: the one most like the text; all: "
        "each, in a sample of its own",
    )
    max_new_tokens: int = Field(128, ge=1, description="tokens of one candidate, 1 or more")

    def canonical(self) -> dict[str, Any]:
        """Where the most probable of several candidates stays, their number still moves it: there are as many beams."""
        options = super().canonical()
        if self.caption_num == 1:
            options.pop("keep_candidate_mode")
        return options


def compares_texts(params: CaptionParams) -> bool:
    """Whether which candidate stays hangs on the sample's text."""
    return params.keep_candidate_mode == "similar_one_simhash" and params.caption_num > 1


@dataclass(frozen=True, eq=False)
class Writer:
    """A model that writes, and the processor that prepares what it sees and reads."""

    module: Any
    processor: Any
    device: Device

    def write(self, inputs: Any, params: CaptionParams) -> list[list[str]]:
        """`caption_num` candidates for each of the n inputs, the most probable first. inputs: tensors [n, ...]."""
        import torch

        inputs = inputs.to(self.device)
        for name, value in inputs.items():
            if torch.is_floating_point(value):
                inputs[name] = value.to(self.module.dtype)
        with torch.inference_mode():
            found = self.module.generate(
                **inputs,
                max_new_tokens=params.max_new_tokens,
                do_sample=False,
                num_beams=params.caption_num,
                num_return_sequences=params.caption_num,
                temperature=None,  # these three are of sampling, and what a model's folder says of them is a warning
                top_p=None,
                top_k=None,
            )
        told = self.processor.batch_decode(
            without_prompt(found, inputs.get("input_ids"), params.caption_num), skip_special_tokens=True
        )
        said = [" ".join(text.split()) for text in told]
        return [said[start : start + params.caption_num] for start in range(0, len(said), params.caption_num)]


def without_prompt(found: Any, prompts: Any, each: int) -> Any:
    """Token ids without the prompt, where a model gives that back before its own. found: int [n * each, t]."""
    if prompts is None or found.shape[1] < prompts.shape[1]:
        return found
    length = prompts.shape[1]
    repeats = bool((found[:, :length] == prompts.repeat_interleave(each, dim=0)).all())
    return found[:, length:] if repeats else found


def load_writer(folder: Path, device: Device) -> Writer:
    """A model of pictures or videos and text to text, in the precision of its weights.

    Raises `WeightsError`, `DeviceError`.
    """
    transformers = frames.import_transformers(device)
    module = frames.module_from(transformers.AutoModelForImageTextToText, folder, device, dtype="auto")
    return Writer(module, frames.from_folder(transformers.AutoProcessor.from_pretrained, folder), device)


def kept(candidates: Sequence[str], params: CaptionParams, text: str) -> list[Product]:
    """The words that stay of a video's candidates, each for a sample of its own. text: of the sample."""
    if params.keep_candidate_mode == "all":
        return [Product(text=caption) for caption in candidates]
    if compares_texts(params):
        wanted = simhash(plain(text))
        return [Product(text=min(candidates, key=lambda caption: (simhash(caption) ^ wanted).bit_count()))]
    return [Product(text=candidates[0])]


TOKENS = ("<__dj__image>", "<__dj__audio>", "<__dj__video>", "<|__dj__eoc|>")
"""What stands for media in a text, as upstream writes it unless told otherwise."""


def plain(text: str) -> str:
    """A text without what stands for media in it."""
    for token in TOKENS:
        text = text.replace(token, "").strip()
    return text


def simhash(text: str) -> int:
    """Charikar's fingerprint of a text, 64 bits, over pairs of neighbouring words, as upstream takes it.

    Of texts that share pairs most bits are the same.
    """
    words = [word for word in text.lower().split(" ") if word]
    pairs = [" ".join(words[start : start + 2]) for start in range(len(words) - 1)]
    balance = [0] * 64
    for pair in pairs:
        digest = int.from_bytes(hashlib.md5(pair.encode(), usedforsecurity=False).digest()[:8], "big")
        for bit in range(64):
            balance[bit] += 1 if digest >> bit & 1 else -1
    return sum(1 << bit for bit in range(64) if balance[bit] > 0)
