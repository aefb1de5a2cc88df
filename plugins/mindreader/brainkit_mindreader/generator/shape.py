"""Sizes of LAFITE's networks, read from and written to their configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from brainkit.errors import CheckpointError

SMALLEST, LARGEST = 4, 4096
"""Sides of the first feature map and of the largest picture in pixels."""
COLOURS = 3
DEEPEST = 64
"""Layers that a mapping network has at most."""
HALVED = 4
"""Blocks at so many of the largest sides follow autocast; the others stay in float32."""
Merge = Literal["max", "signed_max", "mean"]


@dataclass(frozen=True)
class GeneratorShape:
    """Sizes of a generator; the defaults are those of the released Mind Reader.

    Attributes:
        resolution: side of the picture in pixels, a power of 2 from 8 on.
        z_dim: numbers in the noise vector.
        w_dim: numbers in a style vector.
        f_dims: numbers in each condition.
        cond_width: numbers in the output of each condition branch.
        channel_base: channels at side s are this over s, up to `channel_max`.
        mapping_layers: depth of the mapping network.
        conv_clamp: largest magnitude in a feature map.
        merge: what becomes of several branches; "signed_max" takes the entry of largest magnitude.

    Raises:
        CheckpointError: the resolution is no power of 2 from 8 on, there is no condition, or the
            merge is unknown.
    """

    resolution: int = 256
    z_dim: int = 512
    w_dim: int = 512
    f_dims: tuple[int, ...] = (512, 512)
    cond_width: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    conv_clamp: float = 256.0
    merge: Merge = "max"

    def __post_init__(self) -> None:
        side = self.resolution
        if side < 2 * SMALLEST or side & (side - 1):
            raise CheckpointError(
                f"a generator's resolution is {side}, expected a power of 2 from 8 on; correct "
                "its config.json"
            )
        if self.merge not in get_args(Merge):
            raise CheckpointError(
                f"a generator's merge is {self.merge!r}, expected one of {get_args(Merge)}; "
                "correct its config.json"
            )
        if not self.f_dims:
            raise CheckpointError("a generator has no f_dims, expected one for each condition")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> GeneratorShape:
        """Read a configuration file's table, ignoring what is not a size.

        Raises:
            CheckpointError: a size is none that a generator can have, or far beyond any.
        """
        known = {each.name: config[each.name] for each in fields(cls) if each.name in config}
        shape = cls(**known | {"f_dims": tuple(known.get("f_dims", cls.f_dims))})
        for name, most in {"resolution": LARGEST, "mapping_layers": DEEPEST}.items():
            if getattr(shape, name) > most:
                raise CheckpointError(
                    f"a generator has a {name} of {getattr(shape, name)}, expected at most {most}; "
                    "correct its config.json"
                )
        return shape

    def config(self) -> dict[str, Any]:
        """Return the table for a configuration file."""
        return asdict(self) | {"f_dims": list(self.f_dims)}

    def with_heads(self, heads: int) -> GeneratorShape:
        """Return the same shape with so many conditions, each as wide as the first."""
        return replace(self, f_dims=self.f_dims[:1] * heads)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the blocks in pixels, ascending."""
        return tuple(2**n for n in range(2, self.resolution.bit_length()))

    @property
    def num_ws(self) -> int:
        """How many style vectors a picture takes."""
        return 2 * len(self.sides)

    def channels(self, side: int) -> int:
        """Return the channels of the feature map of a side."""
        return min(self.channel_base // side, self.channel_max)
