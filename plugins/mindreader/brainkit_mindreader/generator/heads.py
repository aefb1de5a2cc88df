"""Return the weights of a LAFITE network with a second head, a copy of its first.

Mind Reader began its training so: `pre_01` is `pre_0` and `pre_11` is `pre_1` in every layer of the
generator, `fts2` is `fts` in the discriminator. Under two equal conditions the generator then makes
the picture it made under one, since max(a, a) = a.

Source: Lin et al. 2022, arXiv 2210.01769.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BRANCH = re.compile(r"(.*\.)pre_([01])\.(weight|bias)")
READER = re.compile(r"(.*\.)fts\.(weight|bias)")


def two_heads(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a generator or discriminator with two heads from those with one.

    Args:
        state: named tensors; weights that have two heads, or none, come back as they are.

    Returns:
        A new table. The second head's tensors are copies, so training one leaves the other.
    """
    copies = {copy: name for name in state if (copy := second(name))}
    if any(copy in state for copy in copies):
        return dict(state)
    return dict(state) | {copy: state[name].clone() for copy, name in copies.items()}


def second(name: str) -> str | None:
    """Return the second head's name for a tensor of the first head, None for any other tensor.

    >>> second("synthesis.b8.conv0.pre_1.bias"), second("b4.fts.weight")
    ('synthesis.b8.conv0.pre_11.bias', 'b4.fts2.weight')
    >>> second("synthesis.b8.conv0.pre_11.bias")
    """
    if branch := BRANCH.fullmatch(name):
        return f"{branch[1]}pre_{branch[2]}1.{branch[3]}"
    if reader := READER.fullmatch(name):
        return f"{reader[1]}fts2.{reader[2]}"
    return None
