"""Train the miniature's Optimus: captions of procedural scenes to 64 numbers and back.

The latent is noised in training by up to 0.4 of its own spread, so that sentences survive the
errors of a regression and of a diffusion. In the end it is scaled to spread 1 in every dimension,
which the linear layers before and after it undo.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Generator, Tensor
from transformers import PreTrainedTokenizerFast

from brainkit.miniature.scenes import HELD_OUT_SEEDS, TRAIN_SEEDS, captions, make_scene, vocabulary
from brainkit.training.export import export, write_json
from brainkit.training.loop import Losses, Plan, Seconds, Training
from brainkit_unibrain.optimus import Optimus, OptimusConfig, greedy

LATENT = 64
WIDTH = 128
LENGTH = 30
BATCH = 128
RATE = 1.5e-3
KL_WEIGHT, FREE_NATS = 0.0005, 0.1
NOISE = 0.4
QUIET_NOISE = 0.2
QUIET = 0.25
SETTLED = 0.8
N_HELD_OUT = 1_000


def word_tokenizer(begin: list[str], end: list[str], unknown: str) -> Tokenizer:
    """Make a tokenizer of whole words with special tokens before and after them in the table."""
    words = [*begin, *vocabulary(), *end]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def reading_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer of the encoder, with BERT's special tokens and padding 0."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = word_tokenizer(specials, [], "[UNK]")
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=LENGTH,
    )


def writing_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer of the decoder, with Optimus' special tokens after the words."""
    specials = ["<UNK>", "<PAD>", "<BOS>", "<EOS>"]
    tokenizer = word_tokenizer([], specials, "<UNK>")
    names = dict(zip(("unk_token", "pad_token", "bos_token", "eos_token"), specials, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LENGTH, **names)


def small_config(reader: PreTrainedTokenizerFast, writer: PreTrainedTokenizerFast) -> OptimusConfig:
    """Return the sizes of the miniature's Optimus."""
    bert = {
        "vocab_size": len(reader),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 4 * WIDTH,
        "max_position_embeddings": LENGTH + 2,
        "initializer_range": WIDTH**-0.5,
    }
    gpt2 = {
        "vocab_size": len(writer),
        "n_embd": WIDTH,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": LENGTH + 2,
        "initializer_range": WIDTH**-0.5,
    }
    ids = {"pad": writer.pad_token_id, "bos": writer.bos_token_id, "eos": writer.eos_token_id}
    return OptimusConfig(LATENT, bert, gpt2, **ids)


def both_ids(sentences: list[str]) -> tuple[Tensor, Tensor]:
    """Return sentences as ids for the encoder and, with begin and end, for the decoder."""
    reader, writer = reading_tokenizer(), writing_tokenizer()
    read = reader(sentences, padding=True, return_tensors="pt").input_ids
    begun = [f"<BOS> {sentence} <EOS>" for sentence in sentences]
    written = writer(begun, padding=True, return_tensors="pt").input_ids
    return read, written


def loss_of(net: Optimus, read: Tensor, written: Tensor, progress: float) -> Tensor:
    """Return the loss of one batch: tokens missed, and information beyond the prior.

    Training begins as a plain autoencoder; noise and the cost of information set in slowly. In the
    end the encoder rests, and the decoder alone learns from less noise.
    """
    settled = progress > SETTLED
    late = min(1.0, max(0.0, (progress - QUIET) / QUIET))
    mean, log_variance = (part.float() for part in net.encoder.posterior(read))
    if settled:
        mean, log_variance = mean.detach(), torch.full_like(mean, -torch.inf)
    share = (QUIET_NOISE if settled else NOISE) * torch.rand(len(mean), 1, device=mean.device)
    extra = share * mean.detach().std(dim=0)
    spread = late * (log_variance.exp() + extra**2 + 1e-8).sqrt()
    logits = net.decoder.logits(mean + spread * torch.randn_like(mean), written[:, :-1])
    pad = net.config.pad
    missed = F.cross_entropy(
        logits.float().flatten(0, 1), written[:, 1:].flatten(), ignore_index=pad
    )
    if settled:
        return missed
    nats = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean(dim=0)
    return missed + late * KL_WEIGHT * nats.clamp(min=FREE_NATS).sum()


def pick_rows(order: Tensor, generator: Generator) -> Tensor:
    """Pick a batch of about equally long sentences from all, ordered by length."""
    window = 8 * BATCH
    first = torch.randint(len(order) - window, (1,), generator=generator).item()
    nearby = torch.randperm(window, generator=generator)[:BATCH]
    return order[first + nearby]


def without_padding(ids: Tensor, pad: int) -> Tensor:
    """Cut the columns that hold only padding."""
    return ids[:, : int((ids != pad).sum(dim=1).max())]


@torch.no_grad()
def evaluate(net: Optimus, noise: float = 0.0) -> dict[str, float]:
    """Score the reconstruction of held-out captions from posterior means with added noise."""
    seeds = HELD_OUT_SEEDS[:N_HELD_OUT]
    read, written = both_ids([captions(make_scene(s))[s % 5] for s in seeds])
    device = next(net.parameters()).device
    latent = net.encoder.posterior(read.to(device))[0]
    generator = torch.Generator().manual_seed(0)
    noised = latent + noise * torch.randn(latent.shape, generator=generator).to(device)
    wrote = net.decoder.write(noised, greedy, net.config).cpu()
    long = max(wrote.shape[1], written.shape[1])
    wrote, written = (
        F.pad(t, (0, long - t.shape[1]), value=net.config.pad) for t in (wrote, written)
    )
    counted = written != net.config.pad
    counted[:, 0] = False
    same = wrote == written
    spread = latent.std(dim=0)
    return {
        "tokens": round(same[counted].float().mean().item(), 4),
        "exact": round(same.all(dim=1).float().mean().item(), 4),
        "spread_min": round(spread.min().item(), 3),
        "spread_max": round(spread.max().item(), 3),
    }


def train(seconds: float, work: Path, device: torch.device, folder: Path, workers: int) -> None:
    """Train for so many seconds in all, resuming from `work`, and export to `folder`."""
    torch.manual_seed(0)
    torch.set_num_threads(workers)
    sentences = [captions(make_scene(seed)) for seed in TRAIN_SEEDS]
    read, written = both_ids([s for group in sentences for s in group])
    config = small_config(reading_tokenizer(), writing_tokenizer())
    order = (read > 0).sum(dim=1).argsort(stable=True)
    net = Optimus(config).to(device)
    training = Training(net, Plan(RATE), clock=Seconds(seconds))
    saved = work / "text_vae.safetensors"
    if saved.exists():
        training.resume(saved)

    def gradients(step: int) -> Losses:
        rows = pick_rows(order, Generator().manual_seed(step))
        seen = without_padding(read[rows], 0).to(device)
        told = without_padding(written[rows], config.pad).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(net, seen, told, training.progress)
        torch.autograd.backward(loss)
        return {"loss": loss.item()}

    training.run(gradients, saved)
    net.load_state_dict(training.averaged)
    export_optimus(scaled(net.eval(), read[::51].to(device)), folder)


@torch.no_grad()
def scaled(net: Optimus, ids: Tensor) -> Optimus:
    """Scale the latent to spread 1 per dimension without changing any sentence.

    Means are divided by the spread and the decoder's two layers multiplied by it. The encoder's
    layer has no bias, so log variances stay those of the latent before.
    """
    spread = net.encoder.posterior(ids)[0].std(dim=0)
    net.encoder.linear.weight[: len(spread)] /= spread[:, None]
    net.decoder.transformer.linear.weight *= spread
    net.decoder.transformer.linear_emb.weight *= spread
    return net


def export_optimus(net: Optimus, folder: Path) -> None:
    """Write the checkpoint folder: weights, sizes, both tokenizers, and the held-out scores."""
    config: dict[str, Any] = asdict(net.config)
    export(folder, net.state_dict(), config=config)
    reading_tokenizer().save_pretrained(folder / "reader")
    writing_tokenizer().save_pretrained(folder / "writer")
    scores = {f"noise_{noise}": evaluate(net, noise) for noise in (0.0, 0.3, 0.6, 1.0)}
    print(scores, flush=True)
    write_json(folder / "metrics.json", {"captions": N_HELD_OUT, **scores})
