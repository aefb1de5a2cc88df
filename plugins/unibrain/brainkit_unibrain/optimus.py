"""Optimus: a text autoencoder with BERT reading and GPT-2 writing.

Stock transformers networks carry the weights. Optimus' own are three linear layers without bias:
from BERT's pooled state to the mean and log variance of the latent, and from the latent into GPT-2
along two routes, both always on:

* memory: slice i of `linear(latent)` stands, as key and as value, in one slot before the sentence
  in layer i;
* embedding: `linear_emb(latent)` is added to the embedding of every token.

Because of the memory slot the positions of the sentence begin at 1.

Source: Li et al. 2020, "Optimus: Organizing Sentences via Pre-trained Modeling of a Latent Space",
arXiv 2004.04092, section 3.2; the released weights are those of Versatile Diffusion (arXiv
2211.08332).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel, DynamicCache, GPT2Config, GPT2Model

FIRST_POSITION = 1

Choose = Callable[[Tensor], Tensor]
"""Picks one token per row: logits float (batch, vocabulary) -> int64 (batch,)."""


@dataclass(frozen=True)
class OptimusConfig:
    """Sizes of the text autoencoder; the defaults are those of the released weights.

    `bert` and `gpt2` hold the keyword arguments of the transformers configurations.
    """

    latent: int = 768
    bert: Mapping[str, Any] = field(default_factory=lambda: {"vocab_size": 28_996})
    gpt2: Mapping[str, Any] = field(default_factory=lambda: {"vocab_size": 50_260})
    pad: int = 50_257
    bos: int = 50_258
    eos: int = 50_259

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OptimusConfig:
        """Read the sizes from a checkpoint's configuration, ignoring entries that are not sizes."""
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in values.items() if name in known})


class Reader(BertModel):  # type: ignore[misc]  # transformers is read untyped
    """BERT with a linear layer from its pooled state to the latent's mean and log variance."""

    def __init__(self, config: OptimusConfig) -> None:
        bert = BertConfig(**config.bert)
        super().__init__(bert)
        self.linear = nn.Linear(bert.hidden_size, 2 * config.latent, bias=False)

    def posterior(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, both float (batch, latent), of sentences.

        Args:
            ids: int64 (batch, tokens), [CLS] ... [SEP], padded with 0
        """
        pooled = self(input_ids=ids, attention_mask=(ids > 0).long()).pooler_output
        mean, log_variance = self.linear(pooled).chunk(2, dim=-1)
        return mean, log_variance


class Transformer(GPT2Model):  # type: ignore[misc]  # transformers is read untyped
    """GPT-2 with the two layers that bring the latent in."""

    def __init__(self, config: OptimusConfig) -> None:
        gpt2 = GPT2Config(**config.gpt2, bos_token_id=config.bos, eos_token_id=config.eos)
        super().__init__(gpt2)
        self.linear = nn.Linear(config.latent, gpt2.n_layer * gpt2.n_embd, bias=False)
        self.linear_emb = nn.Linear(config.latent, gpt2.n_embd, bias=False)

    def memory(self, latent: Tensor) -> DynamicCache:
        """Return a cache whose one slot per layer holds the latent (batch, latent)."""
        cache = DynamicCache()
        for layer, part in enumerate(self.linear(latent).chunk(self.config.n_layer, dim=-1)):
            slot = part.unflatten(-1, (self.config.n_head, 1, -1))
            cache.update(slot, slot, layer)
        return cache


class Writer(nn.Module):
    """GPT-2 that writes the sentence of a latent."""

    def __init__(self, config: OptimusConfig) -> None:
        super().__init__()
        self.transformer = Transformer(config)

    def logits(self, latent: Tensor, ids: Tensor) -> Tensor:
        """Return the scores of the next token after each token of known sentences.

        Args:
            latent: float (batch, latent)
            ids: int64 (batch, tokens), from the token that begins a sentence
        Returns:
            float (batch, tokens, vocabulary)
        """
        memory, added = self.transformer.memory(latent), self.transformer.linear_emb(latent)
        return self.advance(ids, FIRST_POSITION, memory, added)

    def advance(self, ids: Tensor, position: int, cache: DynamicCache, added: Tensor) -> Tensor:
        """Run tokens that begin at a position and give the scores of each one's successor."""
        places = torch.arange(position, position + ids.shape[1], device=ids.device)[None]
        # The cache has another name in newer transformers, but its place is the same.
        hidden = self.transformer(
            *(None, cache),
            inputs_embeds=self.transformer.wte(ids) + added[:, None],
            position_ids=places.expand(len(ids), -1),
            use_cache=True,
        ).last_hidden_state
        return F.linear(hidden, self.transformer.wte.weight)

    def write(
        self, latent: Tensor, choose: Choose, config: OptimusConfig, length: int = 30
    ) -> Tensor:
        """Write one sentence per latent, all at once, each token by `choose`.

        As in the published code a sentence holds at most `length` tokens with its begin and end;
        one that does not end by itself is cut and ended.

        Returns:
            int64 (batch, tokens), from the begin token, padded after the end token
        """
        ids = torch.full((len(latent), 1), config.bos, device=latent.device)
        memory, added = self.transformer.memory(latent), self.transformer.linear_emb(latent)
        ended = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
        for position in range(FIRST_POSITION, FIRST_POSITION + length - 2):
            scores = self.advance(ids[:, -1:], position, memory, added)[:, -1]
            following = choose(scores).masked_fill(ended, config.pad)
            ids = torch.cat([ids, following[:, None]], dim=1)
            ended = ended | (following == config.eos)
            if ended.all():
                return ids
        last = torch.full_like(ids[:, :1], config.eos)
        return torch.cat([ids, last.masked_fill(ended[:, None], config.pad)], dim=1)


class Optimus(nn.Module):
    """The text autoencoder: `encoder.posterior` and `decoder.write`."""

    def __init__(self, config: OptimusConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Reader(config)
        self.decoder = Writer(config)


def greedy(logits: Tensor) -> Tensor:
    """Choose the likeliest token."""
    return logits.argmax(dim=-1)


def sampled(seeds: Sequence[int]) -> Choose:
    """Make a chooser that draws from the whole distribution, with one generator for each row."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def choose(logits: Tensor) -> Tensor:
        chances = logits.float().softmax(dim=-1).cpu()
        rows = [
            torch.multinomial(p, 1, generator=g) for p, g in zip(chances, generators, strict=True)
        ]
        return torch.cat(rows).to(logits.device)

    return choose


def own_tensors(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop what released files hold besides: causal masks, the head tied to the embedding."""
    masks = (".attn.bias", ".attn.masked_bias")
    tied = "decoder.lm_head.weight"
    return {n: t for n, t in released.items() if not n.endswith(masks) and n != tied}
