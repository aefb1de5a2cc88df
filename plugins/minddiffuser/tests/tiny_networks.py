"""Build the tiny networks the golden files were computed with, in double precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from brainkit import Condition
from brainkit.networks.clip.names import official_pieces
from brainkit.samplers.denoisers import from_noise
from brainkit.samplers.guidance import guided, stacked

FOLDER = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def golden_config() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    return loaded


def weights_of(prefix: str) -> dict[str, Tensor]:
    loaded = golden("weights")
    return {n.removeprefix(prefix): t for n, t in loaded.items() if n.startswith(prefix)}


def frozen(network: Any, weights: dict[str, Tensor]) -> Any:
    network.load_state_dict(weights, strict=True)
    return network.to(torch.float64).eval().requires_grad_(False)


def tiny_unet() -> Any:
    return frozen(UNet2DConditionModel(**golden_config()["unet"]), weights_of("unet."))


def tiny_autoencoder() -> Any:
    return frozen(AutoencoderKL(**golden_config()["vae"]), weights_of("vae."))


def tiny_decode() -> Callable[[Tensor], Tensor]:
    network, scale = tiny_autoencoder(), golden_config()["vae"]["scaling_factor"]
    return lambda latent: ((network.decode(latent / scale).sample + 1) / 2).clamp(0, 1)


def tiny_clip() -> Any:
    sizes = golden_config()["clip_visual"]
    config = CLIPVisionConfig(
        hidden_size=sizes["width"],
        intermediate_size=int(sizes["width"] * sizes["mlp_ratio"]),
        projection_dim=sizes["output_dim"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        hidden_act="quick_gelu",
    )
    return frozen(CLIPVisionModelWithProjection(config), renamed(weights_of("clip_visual.")))


def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the image tower's tensors by transformers' names from those by OpenAI's."""
    file, sizes = {f"visual.{n}": t for n, t in published.items()}, golden_config()["clip_visual"]
    config = {"vision_config": {"num_hidden_layers": sizes["layers"]}}
    tensors = {}
    for name, piece in official_pieces(config, (file,)).items():
        part = file[piece.name].chunk(piece.part[1])[piece.part[0]]
        tensors[name] = part.T.contiguous() if piece.transposed else part.contiguous()
    return tensors


def tiny_sigmas() -> Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 / torch.cumprod(1 - betas, dim=0) - 1).sqrt()


def tiny_condition(
    start: Tensor, context: Tensor, empty: Tensor, misfit: Callable[[Tensor], Tensor] | None
) -> Condition:
    """Prepare the golden stage 2: guidance 5, four of five steps."""
    network, sigmas = tiny_unet(), tiny_sigmas()

    def denoise_with(context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        both = stacked(empty, context)

        def predict(latent: Tensor, timesteps: Tensor) -> Tensor:
            noise: Tensor = network(latent, timesteps, both).sample
            return noise

        return from_noise(guided(predict, 5.0), sigmas)

    return Condition(
        denoise=denoise_with(context),
        start=start,
        sigmas=sigmas,
        strength=0.8,
        misfit=misfit,
        context=context,
        denoise_with=denoise_with,
    )
