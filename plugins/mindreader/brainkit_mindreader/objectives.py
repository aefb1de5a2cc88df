"""What generator and discriminator are trained for: every term a function of tensors.

Weights are direct factors of each term. The published flags follow from them: itd = 2 heads,
itc = 2 clip, iid = 2 real_heads, iic = clip_image, ires = resnet.

Source: Lin et al. 2022, arXiv 2210.01769, whose two conditions are averaged in every term; Zhou et
al. 2022, arXiv 2111.13792; Karras et al. 2020, arXiv 1912.04958 (R1, path length).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from brainkit_mindreader.contrast import Form, contrast
from brainkit_mindreader.discriminator import Verdict

Terms = dict[str, Tensor]
Given = TypeVar("Given")


@dataclass(frozen=True)
class Weights:
    """Factors of the terms; 0 leaves a term out.

    Attributes:
        heads: the discriminator reads the conditions off pictures.
        clip: CLIP sees the conditions in the generated picture.
        clip_image: CLIP sees the true picture's embedding in the generated one.
        real_heads: the discriminator reads the same off true and generated pictures.
        resnet: a ResNet sees the true picture's features in the generated one.
        paired: mean absolute difference of generated and true picture; not in the paper.
        matching: the same of the discriminator's feature maps; not in the paper.
        temperature: of every contrastive term.
        lam: of every contrastive term.
        form: of every contrastive term.
    """

    heads: float = 5.0
    clip: float = 10.0
    clip_image: float = 0.0
    real_heads: float = 0.0
    resnet: float = 0.0
    paired: float = 0.0
    matching: float = 0.0
    temperature: float = 0.5
    lam: float = 0.0
    form: Form = "cosine"

    def agreement(self, first: Tensor, second: Tensor) -> Tensor:
        """Give the mean contrastive term of a batch."""
        return contrast(first, second, self.temperature, self.lam, self.form).mean()

    def mean_agreement(self, found: Sequence[Tensor], conditions: Sequence[Tensor]) -> Tensor:
        """Give the mean contrastive term over pairs of a vector found and its condition."""
        pairs = zip(found, conditions, strict=True)
        return torch.stack([self.agreement(one, other) for one, other in pairs]).mean()


@dataclass(frozen=True)
class Seen:
    """What networks see in a generated picture and its original; absent when no term asks.

    Attributes:
        clip: CLIP embedding of the generated picture, (batch, dim).
        true_clip: CLIP embedding of the original.
        resnet: ResNet vector of the generated picture, (batch, numbers).
        true_resnet: ResNet vector of the original.
        picture: the generated picture, (batch, 3, side, side).
        true_picture: the original.
    """

    clip: Tensor | None = None
    true_clip: Tensor | None = None
    resnet: Tensor | None = None
    true_resnet: Tensor | None = None
    picture: Tensor | None = None
    true_picture: Tensor | None = None


def generator_terms(
    fake: Verdict | None,
    real: Verdict | None,
    conditions: Sequence[Tensor],
    seen: Seen,
    weights: Weights,
) -> Terms:
    """Give the weighted terms of the generator's loss, scalars to be added.

    Args:
        fake: the verdict on generated pictures; None leaves the adversarial terms out.
        real: the verdict on the originals, for `real_heads` and `matching`.
        conditions: (batch, f_dim) of length 1.
        seen: what other networks see.
        weights: factors.
    """
    terms: Terms = {}
    if fake is not None:
        terms["adversarial"] = functional.softplus(-fake.logit).mean()
        if weights.heads:
            terms["heads"] = -weights.heads * weights.mean_agreement(fake.heads, conditions)
        if weights.real_heads:
            found = _of(real, "real_heads").heads
            terms["real_heads"] = -weights.real_heads * weights.mean_agreement(found, fake.heads)
        if weights.matching:
            pairs = zip(fake.maps, _of(real, "matching").maps, strict=True)
            apart = [(one.float() - other.detach().float()).abs().mean() for one, other in pairs]
            terms["matching"] = weights.matching * torch.stack(apart).mean()
    if weights.clip:
        clip = _of(seen.clip, "clip")
        terms["clip"] = -weights.clip * weights.mean_agreement([clip] * len(conditions), conditions)
    if weights.clip_image:
        pair = _of(seen.clip, "clip_image"), _of(seen.true_clip, "clip_image")
        terms["clip_image"] = -weights.clip_image * weights.agreement(*pair)
    if weights.resnet:
        pair = _of(seen.true_resnet, "resnet"), _of(seen.resnet, "resnet")
        terms["resnet"] = -weights.resnet * weights.agreement(*pair)
    if weights.paired:
        picture, true = _of(seen.picture, "paired"), _of(seen.true_picture, "paired")
        terms["paired"] = weights.paired * (picture - true).abs().mean()
    return terms


def fake_terms(fake: Verdict) -> Terms:
    """Give the discriminator's loss on generated pictures."""
    return {"fake": functional.softplus(fake.logit).mean()}


def real_terms(real: Verdict, conditions: Sequence[Tensor], weights: Weights) -> Terms:
    """Give the discriminator's loss on true pictures."""
    terms = {"real": functional.softplus(-real.logit).mean()}
    if weights.heads:
        terms["real_read"] = -weights.heads * weights.mean_agreement(real.heads, conditions)
    return terms


def r1(pictures: Tensor, verdict: Verdict, gamma: float) -> Tensor:
    """Give gamma / 2 times the squared gradient of the summed logits, (batch,).

    Args:
        pictures: true ones that require gradients.
        verdict: on them.
        gamma: weight.
    """
    (slope,) = torch.autograd.grad(verdict.logit.sum(), pictures, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)) * (gamma / 2)


def path_lengths(pictures: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """Give how far pictures move with their style vectors, (batch,).

    Args:
        pictures: generated, (batch, 3, height, width).
        ws: their style vectors (batch, num_ws, w_dim), which require gradients.
        noise: standard normal, of the pictures' shape.
    """
    height, width = pictures.shape[2:]
    moved = (pictures * noise / math.sqrt(height * width)).sum()
    (slope,) = torch.autograd.grad(moved, ws, create_graph=True)
    return slope.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(
    lengths: Tensor, mean: Tensor, weight: float = 2.0, decay: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Give the penalty (batch,) for lengths away from their running mean, and the new mean ()."""
    mean = mean.lerp(lengths.mean().detach(), decay)
    return weight * (lengths - mean).square(), mean


def noised(condition: Tensor, noise: Tensor, share: float | Tensor = 0.1) -> Tensor:
    """Give a condition of length 1 with a share of noise in it.

    Args:
        condition: (batch, dim), of any length: noise weighs more in short ones, as published.
        noise: standard normal, of its shape.
        share: of noise, in [0, 1]; a number or (batch, 1).
    """
    mixed = (1 - share) * condition + share * functional.normalize(noise, dim=1)
    return functional.normalize(mixed, dim=1)


def _of(value: Given | None, term: str) -> Given:
    if value is None:
        raise ValueError(f"term {term!r} has a weight, but nothing to compute it from was given")
    return value
