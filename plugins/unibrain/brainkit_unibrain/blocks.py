"""The data blocks of the four-flow denoiser, for images and for texts.

An image state is (batch, channels, height, width). A text state is (batch, channels, second_dim, 1)
and most blocks treat it as one flat vector. Every block is called with the state and the time
embedding, whether it needs the time or not.

Source: Xu et al. 2022, arXiv 2211.08332, section 3.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from brainkit_unibrain.walk import FourFlowConfig, Layer

NORM_EPS = 1e-5


class ImageRes(nn.Module):
    """Two convolutions with the time added between them, plus the input.

    h = conv(silu(norm(x))) + linear(silu(time));  y = conv(silu(norm(h))) + skip(x)
    """

    def __init__(
        self, wide_in: int, wide_out: int, config: FourFlowConfig, kernel: int = 3
    ) -> None:
        super().__init__()
        pad = kernel // 2
        self.in_layers = nn.Sequential(
            nn.GroupNorm(config.groups, wide_in, eps=NORM_EPS),
            nn.SiLU(),
            nn.Conv2d(wide_in, wide_out, kernel, padding=pad),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(config.time_dim, wide_out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(config.groups, wide_out, eps=NORM_EPS),
            nn.SiLU(),
            nn.Identity(),  # where the released network has a dropout of zero
            nn.Conv2d(wide_out, wide_out, kernel, padding=pad),
        )
        same = wide_in == wide_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(wide_in, wide_out, 1)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        inner = self.in_layers(hidden) + self.emb_layers(time)[:, :, None, None]
        added: Tensor = self.skip_connection(hidden) + self.out_layers(inner)
        return added


class TextRes(ImageRes):
    """The same block for a text state, treated as one flat vector."""

    def __init__(self, wide_in: int, wide_out: int, config: FourFlowConfig) -> None:
        super().__init__(
            wide_in * config.second_dim, wide_out * config.second_dim, config, kernel=1
        )
        self.second_dim = config.second_dim

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        flat = super().forward(hidden.flatten(1)[:, :, None, None], time)
        return flat.reshape(len(hidden), -1, self.second_dim, 1)


class ImageIn(nn.Conv2d):
    """First layer: latent channels to hidden channels."""

    def forward(self, hidden: Tensor, time: Tensor | None = None) -> Tensor:
        return super().forward(hidden)


class ImageDown(nn.Module):
    """Halve height and width."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(wide, wide, 3, stride=2, padding=1)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        halved: Tensor = self.op(hidden)
        return halved


class ImageUp(nn.Module):
    """Double height and width."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, wide, 3, padding=1)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return doubled


class TextLinear(nn.Linear):
    """A linear layer on the flattened text state, giving a text state."""

    def __init__(self, dim_in: int, dim_out: int, second_dim: int) -> None:
        super().__init__(dim_in, dim_out)
        self.second_dim = second_dim

    def forward(self, hidden: Tensor, time: Tensor | None = None) -> Tensor:
        return super().forward(hidden.flatten(1)).reshape(len(hidden), -1, self.second_dim, 1)


class Out(nn.Sequential):
    """Last layer: normalise, activate, and map to the predicted noise."""

    def forward(self, hidden: Tensor, time: Tensor | None = None) -> Tensor:
        for layer in self:
            hidden = layer(hidden)
        return hidden


class TextOutLinear(nn.Linear):
    """A linear layer on the flattened text state, giving a vector."""

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.flatten(1))


def image_block(layer: Layer, config: FourFlowConfig) -> nn.Module:
    """Build one data block of the image stack."""
    wide_in, wide_out = layer.wide_in, layer.wide_out
    if layer.kind == "in":
        return ImageIn(wide_in, wide_out, 3, padding=1)
    if layer.kind == "res":
        return ImageRes(wide_in, wide_out, config)
    if layer.kind == "down":
        return ImageDown(wide_in)
    if layer.kind == "up":
        return ImageUp(wide_in)
    norm = nn.GroupNorm(config.groups, wide_in, eps=NORM_EPS)
    return Out(norm, nn.SiLU(), nn.Conv2d(wide_in, wide_out, 3, padding=1))


def text_block(layer: Layer, config: FourFlowConfig) -> nn.Module:
    """Build one data block of the text stack."""
    second = config.second_dim
    if layer.kind == "in":
        return TextLinear(config.text_dim, layer.wide_out * second, second)
    if layer.kind == "res":
        return TextRes(layer.wide_in, layer.wide_out, config)
    if layer.kind in ("down", "up"):
        return TextLinear(layer.wide_in * second, layer.wide_out * second, second)
    norm = nn.GroupNorm(config.groups, layer.wide_in, eps=NORM_EPS)
    return Out(norm, nn.SiLU(), TextOutLinear(layer.wide_in * second, config.text_dim))
