"""A tiny Stable Diffusion with all of v1.4's tensors, and its files in both layouts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from brainkit.networks.autokl import released as autokl
from brainkit.networks.clip.released import L14_CONFIG
from brainkit_minddiffuser import released

GOLDEN = json.loads(
    gzip.decompress((Path(__file__).parent / "golden/layouts/sd_v1_4_names.json.gz").read_bytes())
)
ROWS: dict[str, list[tuple[str, list[int], str, list[int]]]] = GOLDEN["rows"]
SIZES = {"block_out_channels": [8, 16, 32, 32], "norm_num_groups": 4}
UNET = replace(
    released.UNET,
    config={
        **released.CONFIG,
        **SIZES,
        "sample_size": 8,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
    },
)
KL_F8 = replace(autokl.KL_F8, config={**autokl.AUTOKL_CONFIG, **SIZES, "sample_size": 16})
TEXT = {
    **L14_CONFIG["text_config"],
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "projection_dim": 16,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 49),
}


class Tiny:
    """The three networks with random weights.

    Attributes:
        unet, vae, text: of diffusers and transformers, in evaluation mode.
    """

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.unet = UNet2DConditionModel.from_config(UNET.config).eval().requires_grad_(False)
        self.vae = AutoencoderKL.from_config(KL_F8.config).eval().requires_grad_(False)
        self.text = CLIPTextModel(CLIPTextConfig(**TEXT)).eval().requires_grad_(False)

    def tensors(self, network: str) -> dict[str, Tensor]:
        """Return the tensors of "unet", "vae" or "text_encoder", as published folders name them."""
        own = {"unet": self.unet, "vae": self.vae, "text_encoder": self.text}[network].state_dict()
        if network != "text_encoder":
            return dict(own)
        return {f"text_model.{name.removeprefix('text_model.')}": t for name, t in own.items()}

    def compvis(self) -> dict[str, Tensor]:
        """Return the 1145 tensors of the single file, named by the published table."""
        tensors: dict[str, Tensor] = {}
        for network, rows in ROWS.items():
            own = self.tensors(network)
            for name, shape, other, there in rows:
                squeezed = shape != there
                tensors[other] = own[name][:, :, None, None] if squeezed else own[name]
        for name, shape in GOLDEN["buffers"].items():
            tensors[name] = torch.zeros(shape)
        return tensors

    def folder(self, path: Path) -> Path:
        """Write diffusers' folder."""
        for network, name in ((self.unet, "unet"), (self.vae, "vae"), (self.text, "text_encoder")):
            network.save_pretrained(path / name)
        return path

    def noise_of(self, unet: Any) -> Tensor:
        """Return what a UNet predicts for fixed numbers."""
        numbers = torch.Generator().manual_seed(1)
        latent = torch.randn(1, 4, 8, 8, generator=numbers)
        context = torch.randn(1, 5, 16, generator=numbers)
        predicted: Tensor = unet(latent, torch.tensor([681]), context).sample
        return predicted


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []


def without(tensors: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    gone = set(names)
    return {name: tensor for name, tensor in tensors.items() if name not in gone}


def saved(path: Path, tensors: dict[str, Tensor], **more: object) -> Path:
    """Write a file as the CompVis trainer did."""
    torch.save({"epoch": 6, "global_step": 470000, "state_dict": tensors, **more}, path)
    return path
