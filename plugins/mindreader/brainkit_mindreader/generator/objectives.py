"""What generator and discriminator are trained for: every term a function of tensors.

Weights are direct factors of each term, and of each condition in it. With two conditions the flags
of the published program are itd = 2 heads, itc = 2 clip, iid = 2 real_heads, iic = clip_image,
ires = resnet; with one, LAFITE's, they are the factors themselves.

Source: Lin et al. 2022, arXiv 2210.01769; Zhou et al. 2022, arXiv 2111.13792; Karras et al. 2020,
arXiv 1912.04958 (R1, path length).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from brainkit_mindreader.generator.discriminator import Verdict
from brainkit_mindreader.mapper.contrast import Form, contrast

Terms = dict[str, Tensor]
Given = TypeVar("Given")


@dataclass(frozen=True)
class Weights:
    """Factors of the terms; 0 leaves a term out.

    Attributes:
        heads: the discriminator reads a condition off pictures; for each condition.
        clip: CLIP sees a condition in the generated picture; for each condition.
        clip_image: CLIP sees the true picture's embedding in the generated one.
        real_heads: the discriminator reads the same off true and generated pictures; for each
            condition.
        resnet: a ResNet sees the true picture's features in the generated one; 10 in the paper,
            whose network has weights of its own.
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
        """Return the mean contrastive term of a batch."""
        return contrast(first, second, self.temperature, self.lam, self.form).mean()

    def agreements(self, heads: Sequence[Tensor], partners: Sequence[Tensor]) -> Tensor:
        """Return the sum over pairs of batches of their mean contrastive terms."""
        pairs = zip(heads, partners, strict=True)
        return torch.stack([self.agreement(one, other) for one, other in pairs]).sum()


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
    """Return the weighted terms of the generator's loss, scalars to be added.

    Args:
        fake: the verdict on generated pictures; None leaves the adversarial terms out.
        real: the verdict on the originals, for `real_heads` and `matching`.
        conditions: (batch, f_dim) of length 1.
        seen: what other networks see.
        weights: factors.

    Raises:
        ValueError: a term has a weight, but nothing to compute it from.
    """
    terms: Terms = {}
    if fake is not None:
        terms["adversarial"] = functional.softplus(-fake.logit).mean()
        if weights.heads:
            terms["heads"] = -weights.heads * weights.agreements(fake.heads, conditions)
        if weights.real_heads:
            heads = _of(real, "real_heads").heads
            terms["real_heads"] = -weights.real_heads * weights.agreements(heads, fake.heads)
        if weights.matching:
            pairs = zip(fake.maps, _of(real, "matching").maps, strict=True)
            apart = [(one.float() - other.detach().float()).abs().mean() for one, other in pairs]
            terms["matching"] = weights.matching * torch.stack(apart).mean()
    if weights.clip:
        clip = _of(seen.clip, "clip")
        terms["clip"] = -weights.clip * weights.agreements([clip] * len(conditions), conditions)
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
    """Return the discriminator's loss on generated pictures."""
    return {"fake": functional.softplus(fake.logit).mean()}


def real_terms(real: Verdict, conditions: Sequence[Tensor], weights: Weights) -> Terms:
    """Return the discriminator's loss on true pictures."""
    terms = {"real": functional.softplus(-real.logit).mean()}
    if weights.heads:
        terms["real_read"] = -weights.heads * weights.agreements(real.heads, conditions)
    return terms


def r1(pictures: Tensor, verdict: Verdict, gamma: float) -> Tensor:
    """Return gamma / 2 times the squared gradient of the summed logits, (batch,).

    Args:
        pictures: true ones that require gradients.
        verdict: on them.
        gamma: weight.
    """
    (slope,) = torch.autograd.grad(verdict.logit.sum(), pictures, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)) * (gamma / 2)


def path_lengths(pictures: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """Return how far pictures move with their style vectors, (batch,).

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
    """Return the penalty (batch,) for lengths away from their running mean, and the new mean ().

    Args:
        lengths: of paths, (batch,).
        mean: running mean before this batch, (). The batch moves it first, and gradients pass
            through that, as published; the mean given back has none.
        weight: factor.
        decay: the batch's share in the mean.
    """
    moved = mean.lerp(lengths.mean(), decay)
    return weight * (lengths - moved).square(), moved.detach()


@dataclass(frozen=True)
class JointWeights:
    """Factors of a mapper's loss while it is trained together with the generator.

    Attributes:
        squares: mean squared difference of condition and target.
        cosine: 1 minus their cosine.
        contrast: their contrastive term, with temperature, lam and form of `Weights`.
        adversarial: the discriminator takes the generated picture for real.
        first_only: compare the first mapper's condition with the target of either mapper, as the
            published program does; the second mapper then learns from the adversarial term alone.

    Source: Lin et al. 2022, arXiv 2210.01769, joint training.
    """

    squares: float = 0.2
    cosine: float = 0.3
    contrast: float = 0.5
    adversarial: float = 0.1
    first_only: bool = False


def mapper_terms(
    mapper: int,
    conditions: Sequence[Tensor],
    target: Tensor,
    fake: Verdict,
    weights: Weights,
    joint: JointWeights = JointWeights(),
) -> Terms:
    """Return the weighted terms of one mapper's loss, scalars to be added.

    Args:
        mapper: 0 for the image's, 1 for the caption's.
        conditions: both, with noise, (batch, dim); gradients pass through this mapper's.
        target: the embedding this mapper is to predict, (batch, dim) of length 1.
        fake: the verdict on the picture generated from the conditions.
        weights: temperature, lam and form of the contrastive term.
        joint: factors.
    """
    own = conditions[0 if joint.first_only else mapper]
    apart = 1 - functional.cosine_similarity(own, target)
    return {
        "squares": joint.squares * functional.mse_loss(own, target),
        "cosine": joint.cosine * apart.mean(),
        "contrast": -joint.contrast * weights.agreement(own, target),
        "adversarial": joint.adversarial * functional.softplus(-fake.logit).mean(),
    }


def noised(condition: Tensor, noise: Tensor, share: float | Tensor = 0.1) -> Tensor:
    """Return a condition of length 1 with a share of noise in it.

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
