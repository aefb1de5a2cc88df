"""What a dry run foretells, held against what really is allocated and written."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from brainkit.data import Condition
from brainkit.errors import DataError
from brainkit.method import Method
from brainkit.networks.autokl import KL_F8
from brainkit.networks.autokl.network import load_autokl
from brainkit.plugins import Registry, Source
from brainkit.run import RunConfig, prepare, run
from brainkit.run.estimate import Need, called, estimate, text
from brainkit.run.tally import ShapeStore, Tally, descend
from brainkit.samplers.diffusion import DDIM
from brainkit.samplers.single_pass import SinglePass
from brainkit.weights.random import RandomStore, manifest

REPOSITORY = Path(__file__).parents[1]


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(),
        nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 31 * 31, 10),
    ).requires_grad_(False)  # fmt: skip


def really_allocated(work: Callable[[], Any]) -> int:
    """Follow the profiler's record of the CPU's allocator and return the most that was alive."""
    with torch.profiler.profile(profile_memory=True, activities=[
        torch.profiler.ProfilerActivity.CPU
    ]) as seen:  # fmt: skip
        made = work()
    alive = most = 0
    events = seen.profiler.kineto_results.events()
    for event in sorted(events, key=lambda each: each.start_ns()):
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    del made
    return most


def foretold(network: Callable[[torch.Tensor], torch.Tensor], *shape: int) -> int:
    rows, tally = torch.empty(shape, device="meta"), Tally()
    with torch.no_grad(), tally:
        network(rows)
    return tally.most


def test_the_most_activations_alive_are_what_the_allocator_sees():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(64, 512), nn.GELU(), nn.LayerNorm(512), nn.Linear(512, 2048), nn.ReLU(),
        nn.Linear(2048, 16),
    )  # fmt: skip
    rows = torch.zeros(300, 64)
    with torch.no_grad():
        truth = really_allocated(lambda: network(rows))
    assert foretold(network.to("meta"), 300, 64) == pytest.approx(truth, rel=0.01)


def test_of_convolutions_only_the_kernels_scratch_is_not_foreseen():
    network, pixels = small_network(), torch.zeros(4, 3, 64, 64)
    with torch.no_grad():
        truth = really_allocated(lambda: network(pixels))
    most = foretold(network.to("meta"), 4, 3, 64, 64)
    assert most <= truth < 1.5 * most


def test_weights_of_a_released_network_are_counted_to_the_byte(tmp_path):
    store, tally = ShapeStore.of(RandomStore(tmp_path)), Tally()
    with tally:
        network = load_autokl(store)
    assert tally.alive == 4 * sum(prod(shape) for shape in manifest(KL_F8).values())
    del network
    assert tally.alive == 0


def test_attention_never_keeps_its_matrix():
    heads = torch.empty(2, 8, 1024, 40, device="meta")
    tally = Tally()
    with tally:
        mixed = functional.scaled_dot_product_attention(heads, heads, heads)
    assert mixed.shape == heads.shape
    assert tally.most == 4 * heads.numel() < 4 * 2 * 8 * 1024 * 1024


def bent(x: torch.Tensor) -> torch.Tensor:
    for _ in range(6):
        x = torch.tanh(x.exp()).square()
    return x


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
def test_the_way_back_is_foretold_with_and_without_gradient_checkpointing(again):
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(12)).requires_grad_(False)

    def deep(rows: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            step = lambda x, layer=layer: bent(layer(x))  # noqa: E731
            rows = checkpoint(step, rows, use_reentrant=False) if again else step(rows)
        return rows

    def forth_and_back() -> None:
        torch.autograd.backward([deep(torch.zeros(512, 256).requires_grad_()).sum()])

    truth, tally = really_allocated(forth_and_back), Tally()
    layers.to("meta")
    descend(deep, torch.empty(512, 256, device="meta"), tally)
    # Gradients on their way, a few arrays of the size of one activation, are not seen.
    assert tally.most <= truth < tally.most + 5 * 4 * 512 * 256
    assert tally.alive == 0


def test_code_that_asks_for_numbers_is_told_zeros():
    numberless = torch.empty(2, 3, device="meta")
    with Tally():
        assert numberless.cpu().numpy().sum() == 0
        assert numberless.tolist() == [[0.0] * 3] * 2
        assert int(numberless.sum()) == 0
        assert (
            numberless.to("cpu").shape == numberless.to(device=torch.device("cpu")).shape == (2, 3)
        )
        assert numberless[(numberless > 0).all(dim=1)].shape == (2, 3)
        assert bool((numberless > 0).all()) is False
    with Tally(truth=True):
        assert bool((numberless > 0).all()) is True


def test_a_network_on_the_cpu_takes_weights_without_numbers():
    network = nn.Linear(3, 2)
    with Tally():
        network.load_state_dict({k: v.to("meta") for k, v in network.state_dict().items()})
        assert network.to("meta")(torch.empty(5, 3, device="meta")).shape == (5, 2)


def condition(**changes: Any) -> Condition:
    sigmas = torch.linspace(0.03, 14, 1000)
    start = torch.zeros(3, 4, 8, 8, device="meta")
    given = Condition(denoise=None, start=start, sigmas=sigmas, strength=0.5)
    return replace(given, **changes)


def mean(latent: torch.Tensor) -> torch.Tensor:
    return latent.flatten(1).mean(1)


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


def test_what_a_sampler_calls_and_goes_back_through_is_seen():
    assert called(DDIM(steps=50), condition()) == {("denoise", False)}
    one = condition(sigmas=torch.ones(1), misfit=mean)
    assert called(SinglePass(), one) == {("denoise", False)}
    assert called(SinglePass(candidates=3), one) == {("denoise", False), ("misfit", False)}
    for n in (1, 10**9):
        descending = called(Descends(n), condition(misfit=mean))
        assert descending == {("denoise", True), ("misfit", True)}


def prepared(registry, nsd, tmp_path, **settings):
    settings = {"method": "toy", "nsd": nsd, "work": tmp_path, "batch_size": 4, **settings}
    return prepare(RunConfig(**settings), registry, [].append)


def test_the_files_of_a_run_are_as_large_as_foretold(registry, nsd, tmp_path):
    done = prepared(registry, nsd, tmp_path)
    disk = estimate(done).disk
    run(done)

    def size(pattern: str) -> int:
        return sum(path.stat().st_size for path in done.work.root.glob(pattern))

    headers = 4096
    assert 0 <= size("features/*.safetensors") - disk["features"] < headers
    assert 0 <= size("decoded/*.safetensors") - disk["predictions"] < headers
    assert 0 <= size("trials-*.safetensors") - disk["trials"] < headers
    latents = disk["image latents"] + disk["caption latents"]
    # 10 images from the brain and from true features, and 3 from the mean brain.
    assert 0 <= size("**/latents/**/nsd*.safetensors") - latents < 46 * headers
    # Pictures are compressed, but each has a header too.
    assert disk["pictures"] == 23 * 64 * 64 * 3
    assert size("**/images/nsd*.png") < disk["pictures"] + 23 * headers


def test_every_step_is_foretold_and_told(registry, nsd, tmp_path):
    planned = prepared(registry, nsd, tmp_path)
    found = estimate(planned)
    assert [need.step for need in found.needs] == [
        "encoding picture", "encoding length", "sampling images", "decoding images",
        "sampling captions", "decoding captions",
    ]  # fmt: skip
    memory, disk, *steps = text(found, planned)
    assert memory.startswith("memory ")
    assert disk.startswith("disk ")
    assert len(steps) == len(found.needs)


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
    found = estimate(other)
    needs = {need.step: need for need in found.needs}
    assert needs["encoding length"].unknown == "only real pictures will do"
    assert not needs["encoding picture"].unknown
    lines = text(found, other)
    assert "not known (only real pictures" in "\n".join(lines)
    assert "and more" not in lines[1]


def test_disk_is_at_least_what_is_known_where_a_sampler_cannot_be_watched(registry, nsd, tmp_path):
    class Impatient:
        name = "impatient"

        def sample(self, condition, seeds, progress=None):
            raise DataError("not so few numbers")

    planned = prepared(registry, nsd, tmp_path)
    other = replace(planned, method=replace(planned.method, sampler=Impatient()))
    found = estimate(other)
    assert {need.step for need in found.needs if need.unknown} == {
        "sampling images", "decoding images", "sampling captions", "decoding captions",
    }  # fmt: skip
    assert set(found.disk) == {"trials", "features", "predictions"}
    assert " and more: trials " in text(found, other)[1]


def test_a_dry_run_prints_the_estimate_and_writes_nothing(cli_with, nsd, tmp_path):
    words = ("run", "toy", "--nsd", nsd, "--work", tmp_path / "runs", "--dry-run")
    lines = cli_with("toy")(*words).stdout.splitlines()
    assert any(line.startswith("memory ") for line in lines)
    assert any(line.startswith("disk ") for line in lines)
    assert not (tmp_path / "runs").exists()


class Largest(TorchFunctionMode):
    """Knows the bytes of the largest tensor with numbers that a function of torch returned."""

    bytes = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        returned = func(*args, **(kwargs or {}))
        if isinstance(returned, torch.Tensor) and not returned.is_meta:
            self.bytes = max(self.bytes, returned.untyped_storage().nbytes())
        return returned


RELEASED = {
    "unibrain": ("unibrain", "sampling captions", "vd-four-flow"),
    "takagi": ("minddiffuser", "sampling images", "sd-v1-4-unet"),
    "minddiffuser": ("minddiffuser", "sampling images", "sd-v1-4-unet"),
    "mindreader": ("mindreader", "sampling images", "mindreader-generator"),
}


@dataclass(frozen=True)
class Foretold:
    """What is foretold of a method at released size, and the largest tensor made for it."""

    method: Method
    needs: Mapping[str, Need]
    largest: int


@pytest.fixture(scope="module")
def released(shared_home, tmp_path_factory):
    """Return a function from a method's name to what is foretold of it; asked once each."""
    work = tmp_path_factory.mktemp("released")

    @cache
    def foretell(method: str) -> Foretold:
        plugin = RELEASED[method][0]
        module = pytest.importorskip(f"brainkit_{plugin}", reason="the plugin is not installed")
        registry = Registry([Source(plugin, f"brainkit-{plugin} 1.0", lambda: module)])
        config = RunConfig(method=method, weights="random", dtype="bfloat16", work=work)
        watch = Largest()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BRAINKIT_HOME", str(shared_home))
            planned = prepare(config, registry, [].append, dry=True)
            with watch:
                needs = {need.step: need for need in estimate(planned).needs}
        return Foretold(planned.method, needs, watch.bytes)

    return foretell


@pytest.mark.parametrize("method", RELEASED)
def test_networks_of_released_size_are_foretold_without_being_built(method, released):
    foretold = released(method)
    assert not [need for need in foretold.needs.values() if need.unknown]
    _, step, network = RELEASED[method]
    every = (getattr(part, "checkpoints", ()) for _, part in foretold.method.parts())
    checkpoint = next(each for found in every for each in found if each.name == network)
    itself = 2 * sum(prod(shape) for shape in manifest(checkpoint).values())
    assert itself <= foretold.needs[step].weights < foretold.needs[step].memory
    # With numbers: pictures, captions, tokens, and zeros where numbers were asked for.
    assert foretold.largest < 64e6


def test_the_second_stage_holds_the_activations_of_a_whole_step(released):
    walked, descended = (
        released(method).needs["sampling images"] for method in ("takagi", "minddiffuser")
    )
    assert descended.memory - descended.weights > 10 * (walked.memory - walked.weights)


def names_of_torch(tree: ast.AST) -> list[str]:
    """Return the dotted names that begin with torch, imported or looked up."""
    names = [
        f"{node.module}.{each.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for each in node.names
    ]
    names += [
        each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    ]
    names += [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [name for name in names if name.split(".")[0] == "torch"]


@pytest.mark.parametrize("package", ["core/brainkit", *map(str, sorted(
    path.relative_to(REPOSITORY) for path in REPOSITORY.glob("plugins/*/brainkit_*")
))])  # fmt: skip
def test_no_private_name_of_torch_is_used(package):
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        names = names_of_torch(ast.parse(path.read_text(encoding="utf-8")))
        private = [name for name in names if any(w.startswith("_") for w in name.split(".")[1:])]
        assert not private, f"{path} uses {private}"
