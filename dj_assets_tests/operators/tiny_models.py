"""Models of the real architectures, a few thousand weights each, made in code and saved as the hub's are.

Weights are random but for the seed, so the numbers mean nothing; code that loads and runs them cannot tell.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SIDE_PX = 32
"""Of the square picture that each model looks at."""

VOCABULARY = "abcdefghijklmnopqrstuvwxyz0123456789.,"


def vit(folder: Path, *, seed: int = 0, num_labels: int = 2) -> Path:
    """A ViT classifier with its image processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=SIDE_PX,
        patch_size=8,
        num_labels=num_labels,
        initializer_range=0.5,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)
    return folder


def clip_vision_config(**options: Any) -> dict[str, Any]:
    """Of a small picture tower of CLIP."""
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE_PX,
        "patch_size": 8,
        "projection_dim": 12,
        "initializer_range": 0.5,
        **options,
    }


def clip_processor(folder: Path) -> None:
    """An image processor of CLIP's kind: shorter side to `SIDE_PX`, the middle cut out, normalised."""
    from transformers import CLIPImageProcessor

    size = {"shortest_edge": SIDE_PX}
    CLIPImageProcessor(size=size, crop_size={"height": SIDE_PX, "width": SIDE_PX}).save_pretrained(folder)


def clip(folder: Path, *, seed: int = 0) -> Path:
    """A CLIP of both towers, with a tokenizer of single letters."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    torch.manual_seed(seed)
    words = [*VOCABULARY, *(f"{letter}</w>" for letter in VOCABULARY), "<|startoftext|>", "<|endoftext|>"]
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 20,
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
        "pad_token_id": len(words) - 1,
    }
    config = CLIPConfig(text_config=text, vision_config=clip_vision_config(), projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(str(folder), model_max_length=20).save_pretrained(folder)
    clip_processor(folder)
    return folder


def picture(seed: int, *, height: int = 40, width: int = 56) -> Any:
    """A coarse random picture, uint8 [height, width, 3]: unlike others at any size that a model sees it in."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
