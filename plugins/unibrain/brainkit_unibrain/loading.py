"""Build UniBrain's networks from the store and give the functions its parts call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from torch import Tensor

from brainkit import Condition
from brainkit.errors import CheckpointError
from brainkit.networks.assemble import assemble, frozen
from brainkit.samplers.denoisers import from_noise
from brainkit.samplers.guidance import guided, stacked
from brainkit.samplers.schedule import scaled_linear_sigmas
from brainkit_unibrain.checkpoints import FOUR_FLOW, OPTIMUS
from brainkit_unibrain.contexts import unconditional_contexts
from brainkit_unibrain.networks import Context, FourFlowConfig, Kind
from brainkit_unibrain.networks import FourFlow as Network
from brainkit_unibrain.optimus import Optimus, OptimusConfig, greedy, own_tensors, sampled
from brainkit_unibrain.sentences import clean, without_repeats

if TYPE_CHECKING:
    from brainkit.checkpoints import CheckpointStore
    from brainkit.parts import Gives
    from brainkit_unibrain.parts import FourFlow, OptimusDecoder

KINDS: tuple[Kind, ...] = ("image", "text")
FLOWS: dict[Gives, tuple[Kind, str]] = {
    "image": ("image", "image_latent"),
    "caption": ("text", "text_latent"),
}


def load_four_flow(store: CheckpointStore) -> Network:
    """Build the denoiser with the store's weights, frozen, in the store's dtype.

    On the CPU weights stored in that dtype stay in their file, from which the system reads the
    parts a flow uses; the released network in bfloat16 so takes little more than these.
    """
    config = FourFlowConfig.from_dict(store.config(FOUR_FLOW))
    weights = store.load(FOUR_FLOW, dtype=store.torch_dtype())
    network: Network = assemble(lambda: Network(config), weights, FOUR_FLOW.name)
    return frozen(network, store.device)


def load_flows(
    store: CheckpointStore, options: FourFlow
) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
    """Return a function from predicted features to the conditions of both flows."""
    if not (options.use_ci or options.use_ct):
        return _only_latents(store, options)
    empty = unconditional_contexts(store, options.uncond_image)
    network, text_dim = load_four_flow(store), _text_dim(store)
    sigmas = scaled_linear_sigmas().to(store.device)

    def condition(features: Mapping[str, Tensor]) -> dict[str, Condition]:
        starts = {"image": features["image_latent"], "caption": _text_latent(features, text_dim)}
        return {
            output: Condition(
                denoise=_denoise(network, options, output, features, empty, sigmas),
                start=starts[output],
                sigmas=sigmas,
                strength=_strength(options, output),
            )
            for output in FLOWS
        }

    return condition


def _denoise(
    network: Network,
    options: FourFlow,
    output: Gives,
    features: Mapping[str, Tensor],
    empty: Mapping[str, Tensor],
    sigmas: Tensor,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Guide the network by the contexts of non-zero weight, the unconditional half first."""
    dtype = next(network.parameters()).dtype
    data, weights = FLOWS[output][0], options.weights(output)
    contexts = [
        Context(kind, stacked(empty[kind], features[f"clip_{kind}"]).to(dtype), weights[kind])
        for kind in KINDS
        if weights[kind]
    ]

    def predict(latent: Tensor, timesteps: Tensor) -> Tensor:
        noise: Tensor = network(latent.to(dtype), timesteps, data, contexts)
        return noise.float()

    return from_noise(guided(predict, options.guidance), sigmas)


def _strength(options: FourFlow, output: Gives) -> float:
    used = options.use_zi if output == "image" else options.use_zt
    return options.strength if used else 1.0


def _text_dim(store: CheckpointStore) -> int:
    return FourFlowConfig.from_dict(store.config(FOUR_FLOW)).text_dim


def _text_latent(features: Mapping[str, Tensor], dim: int) -> Tensor:
    """Return the predicted text latents (batch, dim), or zeros where none are needed."""
    image = features["image_latent"]
    zeros = torch.zeros(len(image), dim, device=image.device)
    return features.get("text_latent", zeros)


def _only_latents(
    store: CheckpointStore, options: FourFlow
) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
    """Leave the latents as they are: without contexts there is nothing to diffuse towards."""

    text_dim = _text_dim(store)

    def condition(features: Mapping[str, Tensor]) -> dict[str, Condition]:
        image, text = features["image_latent"], _text_latent(features, text_dim)
        return {
            "image": _kept(image if options.use_zi else torch.zeros_like(image)),
            "caption": _kept(text if options.use_zt else torch.zeros_like(text)),
        }

    return condition


def _kept(start: Tensor) -> Condition:
    # Levels that end at 0 and one step of a denoiser that knows the answer: the answer itself.
    levels = torch.linspace(0, 1e-3, 1000, device=start.device)
    return Condition(denoise=lambda latent, sigma: start, start=start, sigmas=levels, strength=1e-3)


def load_optimus(store: CheckpointStore) -> Optimus:
    """Build the text autoencoder with the store's weights, frozen, in float32."""
    config = OptimusConfig.from_dict(store.config(OPTIMUS))
    weights = own_tensors(store.load(OPTIMUS))
    network: Optimus = assemble(lambda: Optimus(config), weights, OPTIMUS.name)
    _fill_buffers(network)
    return frozen(network, store.device)


def _fill_buffers(network: Optimus) -> None:
    # No file holds these numbers, so on the meta device they stay without any.
    embeddings = network.encoder.embeddings
    embeddings.token_type_ids = torch.zeros(embeddings.token_type_ids.shape, dtype=torch.int64)
    for block in network.decoder.transformer.h:
        mask = getattr(block.attn, "bias", None)  # newer transformers keep no causal mask
        if mask is not None:
            block.attn.bias = torch.ones(mask.shape, dtype=torch.bool).tril()


def load_reader(store: CheckpointStore) -> Callable[[Sequence[str]], Tensor]:
    """Return a function from sentences to posterior means, float32 (batch, latent)."""
    network = load_optimus(store)
    tokenizer = _tokenizer(store, "reader", {"[PAD]": 0}, network.encoder.config.vocab_size)
    positions = network.encoder.config.max_position_embeddings
    tokenizer.enable_truncation(min(77, positions))
    tokenizer.enable_padding(pad_id=0)

    def read(sentences: Sequence[str]) -> Tensor:
        encoded = tokenizer.encode_batch([sentence.lower() for sentence in sentences])
        ids = torch.tensor([each.ids for each in encoded], device=store.device)
        return network.encoder.posterior(ids)[0].float()

    return read


def load_writer(
    store: CheckpointStore, options: OptimusDecoder
) -> Callable[[Tensor, Sequence[int]], list[str]]:
    """Return a function from latents (batch, latent) and a seed each to captions."""
    network = load_optimus(store)
    config = network.config
    named = {"<PAD>": config.pad, "<BOS>": config.bos, "<EOS>": config.eos}
    tokenizer = _tokenizer(store, "writer", named, config.gpt2["vocab_size"])
    special = set(named.values())

    def sentence(ids: list[int]) -> str:
        words = clean(tokenizer.decode([each for each in ids if each not in special]))
        return without_repeats(words) if options.remove_repeats else words

    def write(latents: Tensor, seeds: Sequence[int]) -> list[str]:
        if not len(latents):
            return []
        choose = greedy if options.decode == "greedy" else sampled(seeds)
        ids = network.decoder.write(
            latents.float().to(store.device), choose, config, options.length
        )
        return [sentence(row) for row in ids.tolist()]

    return write


def _tokenizer(
    store: CheckpointStore, which: str, special: Mapping[str, int], size: int
) -> Tokenizer:
    """Open a tokenizer that has to number its special tokens, and all others, as the network does.

    Raises:
        CheckpointError: it is missing, damaged, or another network's.
    """
    path = store.folder(OPTIMUS) / which / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {OPTIMUS.name!r} lacks {path}; run `brainkit fetch {OPTIMUS.name}`, or "
            "copy the file there"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a tokenizer ({error}); fetch it again") from error
    found = {token: tokenizer.token_to_id(token) for token in special}
    if found != dict(special) or tokenizer.get_vocab_size() > size:
        raise CheckpointError(
            f"{path} has {tokenizer.get_vocab_size()} tokens with {found}, expected at most {size} "
            f"with {dict(special)} as the network has; fetch both again"
        )
    return tokenizer
