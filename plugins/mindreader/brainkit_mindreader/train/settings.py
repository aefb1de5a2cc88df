"""Turn what was typed for stage 2 into its settings."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from brainkit.errors import UsageError, did_you_mean
from brainkit.options import pairs, parsed
from brainkit_mindreader.generator.objectives import Weights
from brainkit_mindreader.train.course import Length
from brainkit_mindreader.train.fine_tune import Tuning
from brainkit_mindreader.train.recipe import Recipe


def tuning(args: argparse.Namespace, *, miniature: bool) -> Tuning:
    """Return the settings of stage 2.

    Args:
        args: what was typed.
        miniature: whether it is the miniature's generator, whose loss weights are its own: a small
            CLIP is easily fooled, so pictures are compared with their originals instead.

    Raises:
        UsageError: a value is out of range or a term of the loss is unknown.
    """
    for name in ("batch", "rate"):
        if not getattr(args, name) > 0:
            raise UsageError(f"--{name} is {getattr(args, name):g}, expected more than 0")
    if args.gamma is not None and not 0 <= args.gamma < math.inf:
        raise UsageError(f"--gamma is {args.gamma:g}, expected 0 or more")
    return Tuning(
        recipe=Recipe(
            batch=args.batch,
            rate=args.rate,
            gamma=args.gamma,
            # The average begins with trained weights, so it need not catch up with them.
            ema_rampup=0.0,
            weights=weights(args.weight, miniature_weights() if miniature else Weights()),
            seed=args.seed,
        ),
        length=Length(args.kimg, args.seconds, args.snapshot_kimg),
        init=args.init,
        semantic=args.semantic,
        mirror=args.mirror,
        joint=args.joint,
        resume=args.resume == "yes",
        to=args.to,
        take=args.take,
    )


def miniature_weights() -> Weights:
    """Return the loss weights that the miniature's generator is trained with."""
    from brainkit_mindreader.train.scenes import RECIPE

    return RECIPE.weights


def weights(texts: Sequence[str], begin: Weights) -> Weights:
    """Return loss weights in which some are set by TERM=FACTOR.

    Raises:
        UsageError: a term is unknown or a factor is no number, or below 0.
    """
    known = [each.name for each in fields(Weights) if each.name != "form"]
    given: dict[str, Any] = {}
    for name, text in pairs(texts, "--weight", "TERM=FACTOR").items():
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"--weight has the term {name!r}, expected one of {known}.{hint}")
        value = parsed(text)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise UsageError(f"--weight {name} is {text!r}, expected a number of 0 or more")
        given[name] = float(value)
    return replace(begin, **given)
