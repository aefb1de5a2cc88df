"""The four-flow denoiser against tensors of the published network."""

from dataclasses import replace

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from golden_files import tensors, tiny_four_flow, zipped

from brainkit.data import Condition
from brainkit.samplers.denoisers import from_noise
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.guidance import guided, stacked
from brainkit.samplers.schedule import scaled_linear_sigmas
from brainkit_unibrain.networks import Context, FourFlow, embed_time
from brainkit_unibrain.walk import FourFlowConfig

NET = tiny_four_flow()
CALLS = tensors("denoiser_calls")


def contexts(image: float, text: float) -> list[Context]:
    pairs = (("image", image), ("text", text))
    return [Context(kind, CALLS[f"c_{kind}"], weight) for kind, weight in pairs]


@pytest.mark.parametrize("context", ["image", "text"])
@pytest.mark.parametrize("data", ["image", "text"])
def test_each_flow_is_the_published_networks(data: str, context: str) -> None:
    alone = [Context(context, CALLS[f"c_{context}"])]
    predicted = NET(CALLS[f"x_{data}"], CALLS["timesteps"], data, alone)
    golden = CALLS[f"eps_{data}_from_{context}_ctx"]
    torch.testing.assert_close(predicted, golden, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("data", "weight"), [("image", 0.6), ("image", 0.4), ("text", 0.9)])
def test_two_contexts_are_mixed_in_every_block(data: str, weight: float) -> None:
    both = contexts(weight, 1 - weight)
    predicted = NET(CALLS[f"x_{data}"], CALLS["timesteps"], data, both)
    golden = CALLS[f"eps_{data}_dual_wimg{weight}"]
    torch.testing.assert_close(predicted, golden, atol=2e-5, rtol=0)


def test_weights_count_relative_to_their_sum() -> None:
    arguments = CALLS["x_image"], CALLS["timesteps"], "image"
    once, thrice = NET(*arguments, contexts(0.6, 0.4)), NET(*arguments, contexts(1.8, 1.2))
    torch.testing.assert_close(once, thrice, atol=1e-5, rtol=0)


def test_a_context_of_weight_zero_is_not_looked_at() -> None:
    arguments = CALLS["x_text"], CALLS["timesteps"], "text"
    broken = Context("text", torch.full((2, 7, 32), torch.nan), 0.0)
    image = Context("image", CALLS["c_image"])
    assert torch.equal(NET(*arguments, [image, broken]), NET(*arguments, [image]))


def test_time_is_embedded_cosines_first() -> None:
    torch.testing.assert_close(embed_time(CALLS["timesteps"], 32), CALLS["t_sinusoid"])
    embedded = NET.diffuser["image"].time_embed(CALLS["t_sinusoid"])
    torch.testing.assert_close(embedded, CALLS["t_emb"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dim", [24, 32, 64, 320])
def test_time_is_embedded_to_the_bit_as_by_diffusers(dim: int) -> None:
    timesteps = torch.arange(1000)
    theirs = get_timestep_embedding(timesteps, dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.equal(embed_time(timesteps, dim), theirs)


@pytest.mark.parametrize(("data", "weight", "atol"), [("image", 0.6, 1e-4), ("text", 0.9, 5e-4)])
def test_sampling_follows_the_published_sampler(data: str, weight: float, atol: float) -> None:
    golden = tensors("ddim_img2img")
    both = [
        Context(kind, stacked(golden[f"u_{kind}"], golden[f"c_{kind}"]), share)
        for kind, share in (("image", weight), ("text", 1 - weight))
    ]
    predict = guided(lambda latent, timesteps: NET(latent, timesteps, data, both), 7.5)
    sigmas = scaled_linear_sigmas()
    condition = Condition(from_noise(predict, sigmas), golden[f"{data}.x0"], sigmas, 0.75)
    finished = DDIM(steps=10, noise_lead=1).walk(condition, golden[f"{data}.noise"])
    torch.testing.assert_close(finished, golden[f"{data}.final"], atol=atol, rtol=0)
    elsewhere = DDIM(steps=10).walk(condition, golden[f"{data}.noise"])
    assert (elsewhere - golden[f"{data}.final"]).abs().max() > 0.05


def test_at_full_size_it_has_the_published_tensors() -> None:
    with torch.device("meta"):
        net = FourFlow(FourFlowConfig())
    published = {row[0]: row[1] for row in zipped("four_flow_names")}
    assert {name: list(t.shape) for name, t in net.state_dict().items()} == published


def test_a_configuration_survives_json() -> None:
    config = FourFlowConfig(channel_mult=(1, 2), attention_levels=(False, True))
    values = {**vars(config), "channel_mult": [1, 2], "attention_levels": [False, True], "more": 1}
    assert FourFlowConfig.from_dict(values) == config


def test_gradients_reach_latent_and_tokens() -> None:
    latent = CALLS["x_image"].clone().requires_grad_()
    tokens = CALLS["c_image"].clone().requires_grad_()
    NET(latent, CALLS["timesteps"], "image", [Context("image", tokens)]).sum().backward()
    assert latent.grad is not None
    assert tokens.grad is not None


def test_rows_of_a_batch_do_not_mix() -> None:
    both = contexts(0.6, 0.4)
    together = NET(CALLS["x_image"], CALLS["timesteps"], "image", both)
    first = [replace_tokens(context) for context in both]
    alone = NET(CALLS["x_image"][:1], CALLS["timesteps"][:1], "image", first)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


def replace_tokens(context: Context) -> Context:
    return context._replace(tokens=context.tokens[:1])


def test_odd_sizes_of_groups_and_text_states_work() -> None:
    config = replace(
        FourFlowConfig(),
        model_channels=12,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_levels=(False, True),
        num_heads=2,
        context_dim=8,
        text_dim=10,
        second_dim=2,
        groups=6,
    )
    net = FourFlow(config)
    context = [Context("text", torch.randn(3, 5, 8))]
    assert net(torch.randn(3, 10), torch.tensor([1, 2, 3]), "text", context).shape == (3, 10)
