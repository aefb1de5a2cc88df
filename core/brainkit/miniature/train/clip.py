"""Train the two small CLIPs on the miniature's pictures and captions.

`clip` stands for ViT-L/14, `clip_b32` for ViT-B/32: fewer and coarser tokens, and at least six
blocks, because methods read single ones of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from brainkit.miniature.scenes import (
    HELD_OUT_SEEDS,
    SIDE,
    TRAIN_SEEDS,
    captions,
    images,
    make_scene,
    vocabulary,
)
from brainkit.miniature.train.lesson import (
    CHECKPOINTS,
    Lesson,
    Options,
    learn,
    training_pictures,
)
from brainkit.networks.clip.network import pixel_values
from brainkit.training.export import export
from brainkit.training.loop import Plan


@dataclass(frozen=True)
class Shape:
    """How one of the two networks differs from the other."""

    width: int
    vision_layers: int
    text_layers: int
    side: int
    steps: int


SHAPES: Final = {
    "clip": Shape(width=128, vision_layers=4, text_layers=3, side=SIDE, steps=1100),
    "clip_b32": Shape(width=80, vision_layers=8, text_layers=3, side=56, steps=1600),
}
"""With patches of 8 pixels a side of 56 gives 50 tokens, as ViT-B/32 has at 224."""
RATE: Final = 1.2e-3
MAX_TOKENS: Final = 32
START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"


def train(options: Options, name: str = "clip") -> None:
    """Train one of the two, and write the checkpoint when the plan is finished."""
    torch.manual_seed(0)
    shape = SHAPES[name]
    tokenizer = make_tokenizer()
    network = CLIPModel(make_config(tokenizer, shape))
    plan = Plan(RATE, least=0.01, keep=0.998, weight_decay=0.05, faster=_faster)
    pictures, tokens = training_pictures(), training_tokens(tokenizer)

    def loss(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        template = torch.randint(5, (len(rows),), generator=generator)
        return _loss(
            network,
            as_pixels(pictures[rows], shape.side).to(options.device),
            tokens[rows, template].to(options.device),
        )

    if learn(Lesson(name, shape.steps, 128, plan), network, loss, options):
        finish(network, tokenizer, name)


def _faster(parameter: str) -> float:
    """Return the factor on a parameter's rate: that of the logits' scale is 0.01."""
    return 1e-2 / RATE if parameter == "logit_scale" else 1.0


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of whole words that starts, ends and pads as the released CLIP's does."""
    words = {word: index for index, word in enumerate(("<unk>", *vocabulary(), START, END))}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, words[START]), (END, words[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token="<unk>",
        model_max_length=MAX_TOKENS,
    )


def make_config(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> CLIPConfig:
    """Describe a network of some shape, with embeddings of 64."""
    both = {
        "hidden_size": shape.width,
        "num_attention_heads": 4,
        "intermediate_size": 4 * shape.width,
        "hidden_act": "quick_gelu",
        "projection_dim": 64,
    }
    text = {
        "num_hidden_layers": shape.text_layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"num_hidden_layers": shape.vision_layers, "image_size": shape.side, "patch_size": 8}
    return CLIPConfig(
        text_config={**both, **text}, vision_config={**both, **vision}, projection_dim=64
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Return token ids, int64 (batch, 32), padded with the end token."""
    encoded = tokenizer(
        texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    return cast(Tensor, encoded["input_ids"])


def training_tokens(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return the tokens of all captions of the training scenes, int64 (batch, 5, 32)."""
    texts = [text for seed in TRAIN_SEEDS for text in captions(make_scene(seed))]
    return tokenize(tokenizer, texts).view(len(TRAIN_SEEDS), 5, MAX_TOKENS)


def as_pixels(pictures: Tensor, side: int) -> Tensor:
    """Turn uint8 (batch, height, width, channels) into CLIP's input, float32 channels first."""
    return pixel_values(pictures.numpy(), side)


def _loss(network: CLIPModel, pixels: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        joint = network(input_ids=tokens, pixel_values=pixels)
    image, text = joint.image_embeds.float(), joint.text_embeds.float()
    logits = network.logit_scale.exp().clamp(max=100) * text @ image.T
    same = torch.arange(len(logits), device=logits.device)
    loss = (functional.cross_entropy(logits, same) + functional.cross_entropy(logits.T, same)) / 2
    hits = (logits.argmax(dim=1) == same).float().mean()
    return {"loss": loss, "top1": hits, "scale": network.logit_scale.exp()}


def finish(network: CLIPModel, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Round to float16, measure, and write network, tokenizer and image processor."""
    network.load_state_dict({k: _rounded(v) for k, v in network.state_dict().items()})
    folder = CHECKPOINTS / name
    config = network.config.to_dict()
    weights = {k: v for k, v in network.state_dict().items() if not k.endswith("position_ids")}
    export(folder, weights, config=config, metrics=measure(network, tokenizer))
    tokenizer.save_pretrained(folder)
    side = network.config.vision_config.image_size
    CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    ).save_pretrained(folder)


def _rounded(value: Tensor) -> Tensor:
    return value.half().float() if value.is_floating_point() else value


@torch.no_grad()
def measure(network: CLIPModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Score retrieval of 900 held-out pictures by captions of each template.

    Returns:
        `two_way`: share of wrong pictures less similar to a caption than its own picture;
        `top1`, `top5`: the own picture's rank among 100; all three a list over the templates.
    """
    network.eval()
    seeds = HELD_OUT_SEEDS[:900]
    texts = [captions(make_scene(seed)) for seed in seeds]
    pixels = pixel_values(images(seeds), network.config.vision_config.image_size)
    scores: dict[str, Any] = {"two_way": [], "top1": [], "top5": []}
    for template in range(5):
        tokens = tokenize(tokenizer, [text[template] for text in texts])
        joint = network(input_ids=tokens, pixel_values=pixels)
        for name, score in retrieval(joint.text_embeds @ joint.image_embeds.T).items():
            scores[name].append(round(score, 4))
    scores["parameters"] = sum(p.numel() for p in network.parameters())
    print(scores, flush=True)
    return scores


def retrieval(similarity: Tensor, *, among: int = 100) -> dict[str, float]:
    """Score a similarity matrix (captions, pictures) whose diagonal is right."""
    own = similarity.diagonal()[:, None]
    two_way = (similarity < own).float().sum() / (similarity.numel() - len(similarity))
    starts = range(0, len(similarity), among)
    blocks = [similarity[i : i + among, i : i + among] for i in starts]
    ranks = torch.cat([(b > b.diagonal()[:, None]).sum(dim=1) for b in blocks])
    return {
        "two_way": float(two_way),
        "top1": float((ranks < 1).float().mean()),
        "top5": float((ranks < 5).float().mean()),
    }
