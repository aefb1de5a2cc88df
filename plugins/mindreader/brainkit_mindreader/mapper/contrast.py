"""The contrastive term that ties pictures to conditions, and the loss of the mappers made of it."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn import functional

Form = Literal["cosine", "exp"]


def contrast(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.5,
    lam: float = 0.0,
    form: Form = "cosine",
) -> Tensor:
    """Return how well each row's partner is told from the batch, a log-probability, float (batch,).

    With S the cosines over the temperature, lam weighs the softmax over the second argument's rows
    and 1 - lam that over the first's. The temperature's logarithm is added, as published.

    Args:
        first: (batch, dim), of any length.
        second: (batch, dim), row i the partner of row i.
        temperature: of the softmax; 0 or less gives plain cosines.
        lam: in [0, 1].
        form: "exp" exponentiates S once more before the softmax, as LAFITE did.

    Source: Lin et al. 2022, arXiv 2210.01769; LAFITE, arXiv 2111.13792, equation 6.
    """
    cosines = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    if temperature <= 0:
        return cosines.diagonal()
    scores = cosines / temperature
    if form == "exp":
        scores = scores.exp()
    over_second = scores.log_softmax(dim=1).diagonal()
    over_first = scores.log_softmax(dim=0).diagonal()
    return lam * over_second + (1 - lam) * over_first + math.log(temperature)
