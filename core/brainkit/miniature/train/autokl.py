"""Train the small AutoKL: 64 x 64 pictures to latents (4, 16, 16) and back."""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from brainkit.miniature.scenes import HELD_OUT_SEEDS, images
from brainkit.miniature.train.lesson import (
    CHECKPOINTS,
    Lesson,
    Options,
    as_input,
    learn,
    training_pictures,
)
from brainkit.training.export import export
from brainkit.training.loop import Plan

LESSON: Final = Lesson("autokl", 2700, 16, Plan(2e-3, least=0.01, keep=0.998))
KL_WEIGHT: Final = 4e-3
EDGE_WEIGHT: Final = 0.5

SHAPE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (24, 48, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 64,
    "scaling_factor": 1.0,
    "mid_block_add_attention": False,
}


def train(options: Options) -> None:
    """Train, and write the checkpoint when the plan is finished."""
    torch.manual_seed(0)
    network = AutoencoderKL(**SHAPE).to(memory_format=torch.channels_last)
    pictures = training_pictures()

    def loss(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        image = as_input(pictures[rows]).to(options.device, memory_format=torch.channels_last)
        return _loss(network, image, generator)

    if learn(LESSON, network, loss, options):
        finish(network, pictures)


def _loss(network: AutoencoderKL, image: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        posterior = network.encode(image).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        back = network.decode(mean + noise * torch.exp(0.5 * logvar)).sample
    back = back.float()
    miss = back - image
    edges = miss.diff(dim=-1).abs().mean() + miss.diff(dim=-2).abs().mean()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    total = miss.abs().mean() + miss.square().mean() + EDGE_WEIGHT * edges + KL_WEIGHT * kl
    return {"loss": total, "mse": miss.square().mean(), "kl": kl}


def finish(network: AutoencoderKL, pictures: Tensor) -> None:
    """Normalise the latents, round to float16, measure and write the checkpoint."""
    network = fold(network, *latent_moments(network, pictures[:4000]))
    rounded = {k: v.half().float() for k, v in network.state_dict().items()}
    network.load_state_dict(rounded)
    config = {k: v for k, v in network.config.items() if not k.startswith("_")}
    export(CHECKPOINTS / "autokl", rounded, config=config, metrics=measure(network, pictures))


@torch.no_grad()
def latent_moments(network: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Measure mean and standard deviation per latent channel, each float32 (channels,)."""
    latents = torch.cat(
        [network.encode(as_input(part)).latent_dist.mean for part in torch.split(pictures, 200)]
    )
    return latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))


def fold(network: AutoencoderKL, mean: Tensor, std: Tensor) -> AutoencoderKL:
    """Move latents to mean 0 and deviation 1 per channel without changing any picture.

    The convolution before the latent becomes z' = (z - mean) / std, its log variance falls by
    2 log(std), and the convolution after it undoes both: W z + b = (W std) z' + (b + W mean).

    Args:
        mean: float32 (channels,) of the posterior means.
        std: float32 (channels,) of the posterior means.
    """
    folded = copy.deepcopy(network)
    before, after, channels = folded.quant_conv, folded.post_quant_conv, len(mean)
    with torch.no_grad():
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= std[None, :, None, None]
        before.weight[:channels] /= std[:, None, None, None]
        before.bias[:channels] = (before.bias[:channels] - mean) / std
        before.bias[channels:] -= 2 * std.log()
    return folded


@torch.no_grad()
def measure(network: AutoencoderKL, pictures: Tensor) -> dict[str, Any]:
    """Score the reconstruction of 500 held-out pictures and the spread of their latents."""
    from skimage.metrics import structural_similarity

    network.eval()
    held_out = torch.from_numpy(images(HELD_OUT_SEEDS[:500]))
    latents, back = [], []
    for part in torch.split(held_out, 100):
        latents.append(network.encode(as_input(part)).latent_dist.mean)
        back.append(network.decode(latents[-1]).sample.clamp(-1, 1).permute(0, 2, 3, 1))
    truth, guess = held_out.float() / 255, torch.cat(back) / 2 + 0.5
    error = functional.mse_loss(guess, truth, reduction="none").mean(dim=(1, 2, 3))
    ssim = [
        structural_similarity(a, b, channel_axis=-1, data_range=1.0)
        for a, b in zip(truth[:200].numpy(), guess[:200].numpy(), strict=True)
    ]
    spread = torch.cat(latents)
    scores = {
        "psnr": float((-10 * error.log10()).mean()),
        "ssim": float(sum(ssim) / len(ssim)),
        "latent_mean": [round(float(v), 4) for v in spread.mean(dim=(0, 2, 3))],
        "latent_std": [round(float(v), 4) for v in spread.std(dim=(0, 2, 3))],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    print(scores, flush=True)
    return scores
