"""Stable Diffusion's published files: equal networks from every layout, and clear refusals."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_diffusion import KL_F8, UNET, Tiny, everything_in, saved, without
from torch import Tensor

from brainkit.checkpoints import CheckpointStore
from brainkit.encoders.clip import CLIP_L14
from brainkit.errors import CheckpointError
from brainkit.networks.autokl import released as autokl
from brainkit.networks.autokl.network import load_autokl
from brainkit.testing import converted
from brainkit.weights.conversion import conversions
from brainkit.weights.convert import Converted, ReleasedFiles, convert
from brainkit_minddiffuser import released
from brainkit_minddiffuser.checkpoints import SD_UNET
from brainkit_minddiffuser.loading import load_unet

BOTH = (UNET, KL_F8)
RAW = "model.diffusion_model."


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


def as_ckpt(tiny: Tiny, path: Path) -> Path:
    return saved(path / "sd-v1-4.ckpt", tiny.compvis())


def as_legacy_ckpt(tiny: Tiny, path: Path) -> Path:
    whole = {"state_dict": tiny.compvis()}
    torch.save(whole, path / "any.ckpt", _use_new_zipfile_serialization=False)
    return path / "any.ckpt"


def as_safetensors(tiny: Tiny, path: Path) -> Path:
    save_file({n: t.contiguous() for n, t in tiny.compvis().items()}, path / "sd.safetensors")
    return path / "sd.safetensors"


def as_folder(tiny: Tiny, path: Path) -> Path:
    return tiny.folder(path / "folder")


def as_half_folder(tiny: Tiny, path: Path) -> Path:
    """Return a folder of which only the half-precision variants were downloaded."""
    folder = tiny.folder(path / "folder")
    for name in ("unet", "vae"):
        whole = folder / name / "diffusion_pytorch_model.safetensors"
        halves = {n: t.half() for n, t in load_file(whole).items()}
        whole.unlink()
        save_file(halves, folder / name / "diffusion_pytorch_model.fp16.safetensors")
    return folder


def as_old_folder(tiny: Tiny, path: Path) -> Path:
    """Return a folder of pickles whose autoencoder has the attention names of old."""
    folder = tiny.folder(path / "folder")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = tiny.tensors("vae")
    for new, was in old.items():
        vae = {n.replace(f"attentions.0.{new}.", f"attentions.0.{was}."): t for n, t in vae.items()}
    for name, tensors in (("unet", tiny.tensors("unet")), ("vae", vae)):
        (folder / name / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(tensors, folder / name / "diffusion_pytorch_model.bin")
    return folder


FORMS = [as_ckpt, as_legacy_ckpt, as_safetensors, as_folder, as_half_folder, as_old_folder]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_converted_networks_compute_the_same_bits(
    form: Callable[[Tiny, Path], Path], tiny: Tiny, tmp_path: Path
) -> None:
    converted(BOTH, form(tiny, tmp_path), tmp_path / "store")
    store, halves = CheckpointStore(tmp_path / "store"), form is as_half_folder
    unet, vae = load_unet(store), load_autokl(store)
    own = {name: {n: t.half().float() if halves else t for n, t in tiny.tensors(name).items()}
           for name in ("unet", "vae")}  # fmt: skip
    for network, name in ((unet, "unet"), (vae, "vae")):
        tensors = network.state_dict()
        assert tensors.keys() == own[name].keys()
        assert all(torch.equal(tensors[n], own[name][n]) for n in tensors)
    if not halves:
        assert torch.equal(tiny.noise_of(unet), tiny.noise_of(tiny.unet))
        pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
        latent = vae.encode(pixels).latent_dist.mean
        assert torch.equal(latent, tiny.vae.encode(pixels).latent_dist.mean)
        assert torch.equal(vae.decode(latent).sample, tiny.vae.decode(latent).sample)


def by_child(path: Path, store: Path) -> list[Converted]:
    return convert(["tiny_diffusion:UNET", "tiny_diffusion:KL_F8"], ReleasedFiles((path,)), store)


def test_one_file_serves_both_networks_in_one_reading(tiny: Tiny, tmp_path: Path) -> None:
    done = by_child(as_ckpt(tiny, tmp_path), tmp_path / "store")
    assert [(each.checkpoint, each.tensors) for each in done] == [
        ("sd-v1-4-unet", 686),
        ("kl-f8", 248),
    ]
    assert "459 tensors of other parts were passed over" in done[0].notes
    store = CheckpointStore(tmp_path / "store")
    assert torch.equal(tiny.noise_of(load_unet(store)), tiny.noise_of(tiny.unet))


def with_averages(tiny: Tiny) -> dict[str, Tensor]:
    """Return the tensors of a full-ema file: raw ones that differ, and their averages."""
    tensors = tiny.compvis()
    for name in [name for name in tensors if name.startswith(RAW)]:
        tensors["model_ema." + name.removeprefix("model.").replace(".", "")] = tensors[name]
        tensors[name] = tensors[name] + 1
    return tensors


def test_running_averages_are_preferred_and_told(tiny: Tiny, tmp_path: Path) -> None:
    path = saved(tmp_path / "full.ckpt", with_averages(tiny))
    found, _ = converted(BOTH, path, tmp_path / "store")
    written = load_file(tmp_path / "store/sd-v1-4-unet/model.safetensors")
    own = tiny.tensors("unet")
    assert all(torch.equal(written[name], own[name]) for name in own)
    assert found.layout.endswith("running averages")


def test_running_averages_that_are_not_all_there_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    tensors = without(with_averages(tiny), ["model_ema.diffusion_modelout2bias"])
    said = refused(saved(tmp_path / "full.ckpt", tensors), tmp_path)
    assert "sd-v1-4-unet has 1 missing (conv_out.bias)" in said


@pytest.mark.parametrize(
    "form", [as_ckpt, as_folder, as_safetensors], ids=lambda form: form.__name__
)
def test_the_text_tower_is_compared_with_the_stores(
    form: Callable[[Tiny, Path], Path], tiny: Tiny, tmp_path: Path
) -> None:
    clip = tmp_path / "store" / CLIP_L14.name / "model.safetensors"
    with ExitStack() as stack:
        (found,) = conversions([UNET], [form(tiny, tmp_path)], None, stack)

        def remarks() -> str:
            return " ".join(released.remarks_on_texts(found, tmp_path / "store", stack))

        assert remarks() == ""
        clip.parent.mkdir(parents=True)
        text = tiny.tensors("text_encoder")
        save_file({n: t.half() for n, t in text.items()}, clip)
        assert remarks() == "clip-vit-l14's text tower is the files' own"
        clip.unlink()
        name = "text_model.final_layer_norm.bias"
        save_file({**text, name: text[name] + 0.1}, clip)
        assert f"the files' differs in 1 tensors ({name})" in remarks()


def test_the_comparison_is_among_the_notes(tiny: Tiny, tmp_path: Path) -> None:
    clip = tmp_path / "store" / CLIP_L14.name / "model.safetensors"
    clip.parent.mkdir(parents=True)
    save_file(tiny.tensors("text_encoder"), clip)
    done, _ = by_child(as_folder(tiny, tmp_path), tmp_path / "store")
    assert done.notes == ("clip-vit-l14's text tower is the files' own",)


def refused(place: Path, tmp_path: Path) -> str:
    """Convert in vain and give the one sentence."""
    with pytest.raises(CheckpointError) as caught:
        converted(BOTH, place, tmp_path / "store")
    said = str(caught.value)
    assert everything_in(tmp_path / "store") == []
    assert "\n" not in said
    assert str(place) in said
    return said


def test_all_differences_are_in_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    vae = "first_stage_model."
    gone = [f"{RAW}out.2.bias", f"{RAW}time_embed.0.bias", f"{vae}quant_conv.bias"]
    tensors = without(tiny.compvis(), gone)
    tensors |= {
        f"{RAW}out.0.bias": torch.zeros(3),
        f"{RAW}label_emb.0.0.weight": torch.zeros(2),
        f"{RAW}out.0.weight": torch.zeros(8, dtype=torch.int64),
        f"{vae}loss.logvar": torch.zeros(()),
        "control.a": torch.zeros(1),
    }
    said = refused(saved(tmp_path / "sd.ckpt", tensors), tmp_path)
    for part in (
        "unet has 2 missing (conv_out.bias, time_embedding.linear_1.bias)",
        f"2 extra (control.a, {RAW}label_emb.0.0.weight)",
        "1 misshapen (conv_norm_out.bias 3, expected 8)",
        "1 not floating point (conv_norm_out.weight I64)",
        f"kl-f8 has 1 missing (quant_conv.bias), 2 extra (control.a, {vae}loss.logvar)",
    ):
        assert part in said


def test_differences_of_a_folder_are_listed(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "folder")
    tensors = without(tiny.tensors("vae"), ["quant_conv.bias"])
    save_file(tensors, folder / "vae/diffusion_pytorch_model.safetensors")
    assert "kl-f8 has 1 missing (quant_conv.bias)" in refused(folder, tmp_path)


def test_another_size_of_network_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    path = as_ckpt(tiny, tmp_path)
    with pytest.raises(CheckpointError, match=r"unet has \d+ misshapen .* expected 320"):
        converted([released.UNET, autokl.KL_F8], path, tmp_path / "store")


def test_a_folder_of_another_network_is_refused_by_its_configuration(
    tiny: Tiny, tmp_path: Path
) -> None:
    folder = tiny.folder(tmp_path / "folder")
    config: dict[str, Any] = {**UNET.config, "attention_head_dim": 4, "sample_size": 96}
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    with pytest.raises(CheckpointError, match=r"attention_head_dim is 4, expected 2;"):
        converted(BOTH, folder, tmp_path / "store")
    (folder / "unet/config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not a network configuration"):
        converted(BOTH, folder, tmp_path / "store")


def test_a_file_of_one_network_gives_that_network_alone(tiny: Tiny, tmp_path: Path) -> None:
    save_file(tiny.tensors("unet"), tmp_path / "any.safetensors")
    found = converted(BOTH, tmp_path / "any.safetensors", tmp_path / "a")
    assert [each.checkpoint for each in found] == ["sd-v1-4-unet"]
    own = {n: t for n, t in tiny.compvis().items() if n.startswith("first_stage_model.")}
    found = converted(BOTH, saved(tmp_path / "pruned.ckpt", own), tmp_path / "b")
    assert [each.checkpoint for each in found] == ["kl-f8"]


class Runs:
    """Unpickled, it calls a function; weights never do."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.trace}'",)


@pytest.mark.parametrize("place", ["beside", "within"])
def test_code_in_the_single_file_is_never_run(place: str, tiny: Tiny, tmp_path: Path) -> None:
    path, harm = tmp_path / "sd-v1-4.ckpt", Runs(tmp_path / "trace")
    weights: dict[str, Any] = tiny.compvis()
    if place == "within":
        saved(path, {**weights, f"{RAW}out.2.bias": harm})  # type: ignore[dict-item]
    else:
        saved(path, weights, callbacks={"best": harm})
    with pytest.raises(CheckpointError, match=rf"{os.name}\.system"):
        by_child(path, tmp_path / "store")
    assert not (tmp_path / "trace").exists()
    assert not (tmp_path / "store/sd-v1-4-unet").exists()


def test_the_denoiser_takes_its_weights_without_a_second_copy(tiny: Tiny, tmp_path: Path) -> None:
    halves = {n: t.to(torch.bfloat16) for n, t in tiny.tensors("unet").items()}
    save_file(halves, tmp_path / "unet.safetensors")
    converted([UNET], tmp_path / "unet.safetensors", tmp_path / "store")
    taken: set[int] = set()

    class Watched(CheckpointStore):
        def load(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
            loaded = super().load(*arguments, **options)
            taken.update(each.data_ptr() for each in loaded.values())
            return loaded

    network = load_unet(Watched(tmp_path / "store", dtype="bfloat16"))
    assert {each.data_ptr() for each in network.parameters()} == taken
    assert network.dtype == torch.bfloat16


def test_the_checkpoint_names_the_release() -> None:
    assert SD_UNET.release == "brainkit_minddiffuser.released:UNET"
    assert released.UNET.name == SD_UNET.name


def test_what_is_written_is_the_whole_published_configuration(tiny: Tiny, tmp_path: Path) -> None:
    converted([UNET], as_folder(tiny, tmp_path), tmp_path / "store")
    written = json.loads((tmp_path / "store/sd-v1-4-unet/config.json").read_text())
    assert written == UNET.config
    assert UNet2DConditionModel.from_config(written).config["cross_attention_dim"] == 16
