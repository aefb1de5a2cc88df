"""Build Stable Diffusion from the store and give the functions the plugin's parts call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from brainkit import Condition
from brainkit.errors import DataError
from brainkit.networks.assemble import assemble, frozen
from brainkit.networks.autokl.network import decoded, encoded, load_autokl, signed_pixels
from brainkit.networks.clip import CLIP_L14
from brainkit.networks.clip.network import load_network, load_tokenizer
from brainkit.samplers.denoisers import from_noise
from brainkit.samplers.guidance import guided, stacked
from brainkit.samplers.noise import seeds_of
from brainkit.samplers.schedule import scaled_linear_sigmas
from brainkit_minddiffuser.checkpoints import SD_UNET

if TYPE_CHECKING:
    from brainkit.checkpoints import CheckpointStore
    from brainkit.samplers.denoisers import Denoise
    from brainkit_minddiffuser.parts import StableDiffusion
    from brainkit_minddiffuser.takagi import LowResolution

Features = Mapping[str, Tensor]
UNTOUCHED = (1e-7, 1e-6)
"""Noise levels that leave a latent as it is, to float32's rounding."""


def load_unet(store: CheckpointStore) -> Any:
    """Build diffusers' UNet2DConditionModel with the store's weights, frozen, in its dtype."""
    config, weights = store.config(SD_UNET), store.load(SD_UNET, dtype=store.torch_dtype())
    network = assemble(lambda: UNet2DConditionModel.from_config(config), weights, SD_UNET.name)
    return frozen(network, store.device)


def load_reader(
    store: CheckpointStore, length: int | None = None
) -> Callable[[Sequence[str]], Tensor]:
    """Return a function from texts to the text tower's last hidden states.

    Args:
        store: where the text tower is.
        length: tokens of every text; None for all the tower has.

    Returns:
        a function from texts to float32 (batch, length, dim).
    """
    tokens = load_tokenizer(store, CLIP_L14, length)
    network = load_network(store, CLIP_L14, "text")

    def read(texts: Sequence[str]) -> Tensor:
        states: Tensor = network.text_model(input_ids=tokens(texts).to(store.device))[0]
        return states.float()

    return read


def load_stable_diffusion(
    store: CheckpointStore, options: StableDiffusion
) -> Callable[[Features], dict[str, Condition]]:
    """Return a function from decoded features to the condition of MindDiffuser's images."""
    begin, misfit = load_stage1(store, options), load_misfit_when_asked(store)

    def condition(features: Features) -> dict[str, Condition]:
        begun = begin(_whole(features, "image_latent"), _context(features, options))
        # Without a context to walk towards there is no second stage either.
        return {"image": replace(begun, misfit=misfit(features)) if options.use_c else begun}

    return condition


def load_low_resolution(
    store: CheckpointStore, options: LowResolution
) -> Callable[[Features], dict[str, Condition]]:
    """Return a function from decoded features to the condition of Takagi & Nishimoto's images."""
    begin, enlarge = load_stage1(store, options), load_enlarger(store, options.posterior)

    def condition(features: Features) -> dict[str, Condition]:
        latent = enlarge(_whole(features, "image_latent"))
        return {"image": begin(latent, _context(features, options))}

    return condition


def load_stage1(
    store: CheckpointStore, options: StableDiffusion | LowResolution
) -> Callable[[Tensor, Tensor], Condition]:
    """Return a function from a latent and a context to the condition that diffuses between them.

    The latent is (batch, channels, height, width), the context (batch, tokens, dim).
    """
    if not options.use_c:
        return lambda latent, context: untouched(latent * options.use_z)
    with torch.no_grad():
        empty = load_reader(store)([""])
    denoise_with, sigmas = denoiser(load_unet(store), empty, options.guidance)
    strength = options.strength if options.use_z else 1.0

    def begin(latent: Tensor, context: Tensor) -> Condition:
        return Condition(
            denoise=denoise_with(context),
            start=latent,
            sigmas=sigmas,
            strength=strength,
            context=context,
            denoise_with=denoise_with,
        )

    return begin


def denoiser(
    network: Any, empty: Tensor, guidance: float
) -> tuple[Callable[[Tensor], Denoise], Tensor]:
    """Return a function from a context to its guided denoiser, and the network's noise levels.

    Latents and contexts keep their dtype; the network computes in its own. Gradients reach both.

    Args:
        network: diffusers' UNet2DConditionModel that predicts the noise.
        empty: float32 (1, tokens, dim), the context of the empty text. Of a context of fewer
            tokens it gives the first ones: the text tower reads from left to right.
        guidance: scale of classifier-free guidance.

    Returns:
        a function from contexts (batch, tokens, dim), and sigmas float32 (steps,), or float64 for
        a network in float64.
    """
    levels = torch.promote_types(network.dtype, torch.float32)
    sigmas = scaled_linear_sigmas(dtype=levels).to(empty.device)

    def denoise_with(context: Tensor) -> Denoise:
        _check_context(context, empty)
        contexts = stacked(empty[:, : context.shape[1]].to(context), context).to(network.dtype)

        def predict(latent: Tensor, timesteps: Tensor) -> Tensor:
            noise: Tensor = network(latent.to(network.dtype), timesteps, contexts).sample
            return noise.to(latent.dtype)

        return from_noise(guided(predict, guidance), sigmas)

    return denoise_with, sigmas


def untouched(latent: Tensor) -> Condition:
    """Return a condition whose every walk ends where it starts: nothing to diffuse towards."""
    sigmas = torch.linspace(*UNTOUCHED, 1000, device=latent.device)
    return Condition(lambda noised, sigma: noised, latent, sigmas, strength=1e-3)


def load_enlarger(store: CheckpointStore, posterior: str) -> Callable[[Tensor], Tensor]:
    """Return a function from small latents to those of the same pictures at the network's own side.

    Pictures have 8 bits a colour, cut off and not rounded, as published. Each is handled alone, so
    that a colour near the edge of two values does not depend on its batch.

    Args:
        store: where the image autoencoder is.
        posterior: "mean", or "sample" for a draw seeded by the small latent itself.

    Returns:
        a function from scaled latents (batch, channels, any, any) to such of the network's own
        size, in the same dtype.
    """
    network = load_autokl(store)
    side = int(network.config.sample_size)

    def enlarged(latent: Tensor) -> Tensor:
        unit = ((decoded(network, latent) + 1) / 2).clamp(0, 1)
        picture = (255 * unit).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        seeds = seeds_of(latent) if posterior == "sample" else None
        return encoded(network, signed_pixels(picture, side), seeds).to(latent.dtype)

    return lambda latents: torch.cat([enlarged(each) for each in torch.split(latents, 1)])


def load_misfit_when_asked(
    store: CheckpointStore,
) -> Callable[[Features], Callable[[Tensor], Tensor]]:
    """Return a function from features to the structural loss; its networks wait for the first call.

    Samplers that descend no loss then never load them.
    """

    @cache
    def load() -> Callable[[Features], Callable[[Tensor], Tensor]]:
        from brainkit_minddiffuser.structure import load_misfit

        return load_misfit(store)

    def bind(features: Features) -> Callable[[Tensor], Tensor]:
        bound = cache(lambda: load()(features))
        return lambda latent: bound()(latent)

    return bind


def _whole(features: Features, name: str) -> Tensor:
    feature = features[name]
    left_out = int(feature.isnan().flatten(1).any(dim=0).sum())
    if left_out:
        raise DataError(
            f"{name} was not predicted in {left_out} of its {feature[0].numel()} units, but the "
            f"denoiser needs all of them; set regressor.{name}.units=1"
        )
    return feature


def _context(features: Features, options: StableDiffusion | LowResolution) -> Tensor:
    """Return the decoded context, or nothing where none is used."""
    return _whole(features, "text_tokens") if options.use_c else torch.empty(0)


def _check_context(context: Tensor, empty: Tensor) -> None:
    most, dim = empty.shape[1:]
    if context.ndim != 3 or context.shape[1] > most or context.shape[2] != dim:
        raise DataError(
            f"text_tokens has shape {tuple(context.shape[1:])}, but the text tower of "
            f"{CLIP_L14.name} gives up to {most} tokens of {dim} numbers; encode texts with it"
        )
