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

WORDS = [
    *("a", "an", "the", "dog", "cat", "runs", "sits", "red", "blue", "on", "grass", "and", "is", "of"),
    *("video", "image", ".", ",", "?", "question", "answer", ":", "describe"),
]

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


def word_tokenizer(special: list[str], **options: str) -> Any:
    """A fast tokenizer of `WORDS`, after its special tokens; whatever else is unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {
        word: number for number, word in enumerate([*special, *WORDS, "<unk>", "user", "assistant", "system"])
    }
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", additional_special_tokens=special, **options
    )


def talkative(module: Any) -> Any:
    """The module with weights so large that what it writes hangs on what it sees."""
    import torch

    with torch.no_grad():
        for weights in module.parameters():
            if weights.ndim > 1:
                weights.mul_(20)
    return module


def blip2(folder: Path, *, seed: int = 0) -> Path:
    """A BLIP-2 on OPT."""
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor

    torch.manual_seed(seed)
    tokenizer = word_tokenizer(["<pad>", "</s>", "<image>"], pad_token="<pad>", bos_token="</s>", eos_token="</s>")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**small, "intermediate_size": 32, "image_size": SIDE_PX, "patch_size": 8},
        qformer_config={**small, "intermediate_size": 32, "encoder_hidden_size": 16, "vocab_size": 40},
        text_config={
            **small,
            "model_type": "opt",
            "ffn_dim": 32,
            "vocab_size": len(tokenizer),
            "word_embed_proj_dim": 16,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        num_query_tokens=4,
        image_token_index=2,
    )
    talkative(Blip2ForConditionalGeneration(config)).save_pretrained(folder)
    image_processor = BlipImageProcessor(size={"height": SIDE_PX, "width": SIDE_PX})
    Blip2Processor(image_processor, tokenizer, num_query_tokens=4).save_pretrained(folder)
    return folder


CHAT = (
    "{% for m in messages %}<|im_start|> {{ m.role }} {% for c in m.content %}"
    "{% if c.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|> {% else %}{{ c.text }} {% endif %}"
    "{% endfor %}<|im_end|> {% endfor %}{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


def qwen3_vl(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen3-VL with its processor of videos and a chat template."""
    import torch
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    torch.manual_seed(seed)
    special = ["<pad>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    tokenizer = word_tokenizer(special, pad_token="<pad>", eos_token="<|im_end|>")
    config = Qwen3VLConfig(
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "patch_size": 8,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "pad_token_id": 0,
            "eos_token_id": 2,
        },
        vision_start_token_id=3,
        vision_end_token_id=4,
        image_token_id=5,
        video_token_id=6,
    )
    talkative(Qwen3VLForConditionalGeneration(config)).save_pretrained(folder)
    looks = {
        "size": {"shortest_edge": 1024, "longest_edge": 65536},
        "patch_size": 8,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }
    processors = (Qwen2VLImageProcessor(**looks), tokenizer, Qwen3VLVideoProcessor(**looks))
    Qwen3VLProcessor(*processors, chat_template=CHAT).save_pretrained(folder)
    return folder


def picture(seed: int, *, height: int = 40, width: int = 56) -> Any:
    """A coarse random picture, uint8 [height, width, 3]: unlike others at any size that a model sees it in."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
