"""What a dry run foretells, held against what really is allocated, computed and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from brainkit.data import Condition
from brainkit.errors import DataError
from brainkit.networks.autokl import KL_F8
from brainkit.networks.autokl.network import load_autokl
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig
from brainkit.run.estimate import duration, estimate, speed, text
from brainkit.samplers.calls import calls
from brainkit.samplers.diffusion import DDIM
from brainkit.weights.random import RandomStore, manifest
from brainkit.weights.tracing import ShapeStore, traced


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(),
        nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 31 * 31, 10),
    ).requires_grad_(False)  # fmt: skip


def really_allocated(work) -> int:
    """Follow the profiler's record of the CPU's allocator and give the most that was alive."""
    with torch.profiler.profile(profile_memory=True, activities=[
        torch.profiler.ProfilerActivity.CPU
    ]) as seen, torch.no_grad():  # fmt: skip
        made = work()
    alive = most = 0
    events = seen.profiler.kineto_results.events()
    for event in sorted(events, key=lambda each: each.start_ns()):
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    del made
    return most


def test_the_peak_of_activations_is_what_the_allocator_sees():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(64, 512), nn.GELU(), nn.LayerNorm(512), nn.Linear(512, 2048), nn.ReLU(),
        nn.Linear(2048, 16),
    )  # fmt: skip
    rows = torch.zeros(300, 64)
    truth = really_allocated(lambda: network(rows))
    on_cpu = traced(lambda: network(rows), "cpu").cost.peak
    assert on_cpu == pytest.approx(truth, rel=0.01)
    numberless, placed = network.to("meta"), rows.to("meta")
    assert traced(lambda: numberless(placed)).cost.peak == on_cpu


def test_of_convolutions_only_the_kernels_scratch_is_not_foreseen():
    network, pixels = small_network(), torch.zeros(4, 3, 64, 64)
    truth = really_allocated(lambda: network(pixels))
    peak = traced(lambda: network(pixels), "cpu").cost.peak
    numberless, placed = network.to("meta"), pixels.to("meta")
    assert traced(lambda: numberless(placed)).cost.peak == peak
    assert peak <= truth < 1.5 * peak


def test_weights_of_a_released_network_are_counted_to_the_byte(tmp_path):
    store = ShapeStore.of(RandomStore(tmp_path))
    kept = traced(lambda: load_autokl(store)).cost.kept
    assert kept == 4 * sum(torch.Size(shape).numel() for shape in manifest(KL_F8).values())


def test_operations_of_a_linear_layer_and_a_convolution_follow_the_formulas():
    linear = nn.Linear(30, 50, device="meta")
    convolution = nn.Conv2d(6, 10, 3, padding=1, device="meta", dtype=torch.bfloat16)
    rows = torch.empty(7, 30, device="meta")
    maps = torch.empty(2, 6, 16, 20, device="meta", dtype=torch.bfloat16)
    assert traced(lambda: linear(rows)).cost.flops == {"float32": 2 * 7 * 30 * 50}
    flops = traced(lambda: convolution(maps)).cost.flops
    assert flops == {"bfloat16": 2 * 2 * 16 * 20 * 10 * 6 * 9}


def test_attention_is_counted_without_keeping_its_matrix():
    heads = torch.empty(2, 8, 1024, 40, device="meta")
    cost = traced(lambda: functional.scaled_dot_product_attention(heads, heads, heads)).cost
    assert cost.flops == {"float32": 2 * (2 * 2 * 8 * 1024 * 1024 * 40)}
    assert cost.peak < 4 * 2 * 8 * 1024 * 1024 / 4


def test_gradient_checkpointing_keeps_less():
    layers = nn.ModuleList(nn.Linear(256, 256, device="meta") for _ in range(12))

    def bent(x):
        for _ in range(6):
            x = torch.tanh(x.exp()).square()
        return x

    def descend(step):
        with torch.enable_grad():
            rows = torch.empty(64, 256, device="meta").requires_grad_()
            hidden = rows
            for layer in layers.requires_grad_(False):
                hidden = step(lambda x, layer=layer: bent(layer(x)), hidden)
            torch.autograd.backward([hidden.sum()])

    plain = traced(lambda: descend(lambda function, x: function(x))).cost
    again = traced(lambda: descend(lambda f, x: checkpoint(f, x, use_reentrant=False))).cost
    assert again.peak < plain.peak / 2
    # Forward and the way back through one matrix a layer; with checkpoints forward is done twice.
    product = 2 * 64 * 256 * 256
    assert plain.flops == {"float32": 12 * 2 * product}
    assert again.flops == {"float32": 12 * 3 * product}


def test_storages_that_were_there_before_do_not_count():
    before = torch.empty(1000, device="meta")
    assert traced(lambda: before[10:].add_(1)).cost.peak == 0


def test_code_that_asks_for_numbers_is_told_zeros():
    numberless = torch.empty(2, 3, device="meta")

    def asking():
        return numberless.cpu().numpy().sum(), numberless.tolist(), int(numberless.sum())

    assert traced(asking).made == (0.0, [[0.0] * 3] * 2, 0)
    assert traced(lambda: bool((numberless > 0).all()), truth=True).made is True
    assert traced(lambda: bool((numberless > 0).all())).made is False


def condition(**changes) -> Condition:
    sigmas = torch.linspace(0.03, 14, 1000)
    start = torch.zeros(3, 4, 8, 8, device="meta")
    given = Condition(denoise=None, start=start, sigmas=sigmas, strength=0.5)
    return replace(given, **changes)


def test_ddim_calls_the_denoiser_once_a_step_of_its_share():
    assert calls(DDIM(steps=50), condition()) == {"denoise": 25}
    assert calls(DDIM(steps=50), condition(strength=1.0)) == {"denoise": 50}


@dataclass(frozen=True)
class Descends:
    """Descends the misfit of one denoised latent, n times."""

    n: int

    def sample(self, condition, seeds, progress=None):
        for done in range(self.n):
            with torch.enable_grad():
                latent = condition.start.clone().requires_grad_()
                clean = condition.denoise(latent, condition.sigmas[-1])
                torch.autograd.grad(condition.misfit(clean).sum(), latent)
            if progress:
                progress(done + 1, self.n)
        return condition.start


@pytest.mark.parametrize("n", [7, 100_000])
def test_gradients_and_misfits_are_counted_however_many_there_are(n):
    found = calls(Descends(n), condition(misfit=lambda latent: latent.flatten(1).mean(1)))
    names = ("denoise", "denoise back", "misfit", "misfit back")
    assert found == dict.fromkeys(names, n)


def prepared(registry, nsd, tmp_path, **settings):
    settings = {"method": "toy", "nsd": nsd, "work": tmp_path, "batch_size": 4, **settings}
    return prepare(RunConfig(**settings), registry, [].append)


def test_the_files_of_a_run_are_as_large_as_foretold(registry, nsd, tmp_path):
    done = prepared(registry, nsd, tmp_path)
    foretold = estimate(done, measure=False).disk
    run(done)

    def size(pattern: str) -> int:
        return sum(path.stat().st_size for path in done.work.root.glob(pattern))

    headers = 4096
    assert 0 <= size("features/*.safetensors") - foretold["features"] < headers
    assert 0 <= size("toy/decoded/*.safetensors") - foretold["predictions"] < headers
    assert 0 <= size("trials-*.safetensors") - foretold["trials"] < headers
    latents = foretold["image latents"] + foretold["caption latents"]
    assert 0 <= size("**/latents/**/nsd*.safetensors") - latents < 40 * headers
    # Pictures are compressed, but each has a header too.
    assert foretold["pictures"] == 20 * 64 * 64 * 3
    assert size("**/images/nsd*.png") < foretold["pictures"] + 20 * headers


def test_every_step_is_foretold_and_told(registry, nsd, tmp_path):
    planned = prepared(registry, nsd, tmp_path)
    found = estimate(planned)
    assert [need.step for need in found.needs] == [
        "encoding picture", "encoding length", "sampling images", "decoding images",
        "sampling captions", "decoding captions",
    ]  # fmt: skip
    said = "\n".join(text(found, planned))
    for word in ("memory ", "disk ", "time ", "at least"):
        assert word in said


def test_a_part_that_cannot_do_without_numbers_is_not_known(registry, nsd, tmp_path):
    planned = prepared(registry, nsd, tmp_path)

    class Choosy:
        name, reads, checkpoints = "choosy", "image", ()

        def shape(self, store):
            return (1,)

        def load(self, store):
            def refuse(stimuli):
                raise DataError("only real pictures will do")

            return refuse

    encoders = {**planned.method.encoders, "length": Choosy()}
    other = replace(planned, method=replace(planned.method, encoders=encoders))
    found = {need.step: need for need in estimate(other, measure=False).needs}
    assert found["encoding length"].unknown == "only real pictures will do"
    assert not found["encoding picture"].unknown
    assert "not known (only real pictures" in "\n".join(text(estimate(other), other))


def test_time_is_operations_by_the_measured_speed(registry, nsd, tmp_path):
    found = estimate(prepared(registry, nsd, tmp_path), measure=False)
    need = replace(found.needs[0], flops={"float32": 4e12, "bfloat16": 1e12})
    timed = replace(found, needs=(need,), speeds={"float32": 2e12, "bfloat16": 4e12})
    assert timed.seconds == pytest.approx(2.25)
    assert replace(timed, speeds={"float32": 2e12}).seconds is None


def test_the_measured_speed_is_possible():
    found = speed("cpu", "float32")
    # From the slowest machine that runs Python to far beyond the fastest.
    assert found is not None
    assert 1e7 < found < 1e16


def test_durations_read_well():
    assert duration(3599) == "59 min 59 s"
    assert duration(86_400 * 2) == "48 h 0 min"


def test_a_dry_run_prints_the_estimate(toy_environment, nsd, tmp_path):
    import subprocess
    import sys

    words = ("run", "toy", "--nsd", str(nsd), "--work", str(tmp_path), "--dry-run")
    done = subprocess.run(
        [sys.executable, "-m", "brainkit", *words],
        env=toy_environment, text=True, capture_output=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert any(line.startswith("memory ") for line in lines)
    assert any(line.startswith("time ") for line in lines)
    assert not list(Path(tmp_path).iterdir())
