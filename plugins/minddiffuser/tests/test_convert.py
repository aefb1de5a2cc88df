"""Conversion of Stable Diffusion's files: equal networks, clear refusals, and nothing executed."""

import os
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_diffusion import NETWORKS, TEXT, UNET, Tiny, cut, everything_in, saved, without

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.encoders.autokl import load_autokl
from brainkit.errors import CheckpointError
from brainkit_minddiffuser.convert import V1_4, convert, main
from brainkit_minddiffuser.weightfiles import Entry, open_weights, write_safetensors

SD_UNET = Checkpoint(name="sd-v1-4-unet")
WRITTEN = [
    "kl-f8/config.json",
    "kl-f8/model.safetensors",
    "sd-v1-4-unet/config.json",
    "sd-v1-4-unet/model.safetensors",
]


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


def as_ckpt(tiny: Tiny, path: Path) -> Path:
    return saved(path / "sd.ckpt", tiny.compvis())


def as_legacy_ckpt(tiny: Tiny, path: Path) -> Path:
    whole = {"state_dict": tiny.compvis()}
    torch.save(whole, path / "sd.ckpt", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path / "sd.ckpt")
    return path / "sd.ckpt"


def as_bare_ckpt(tiny: Tiny, path: Path) -> Path:
    torch.save(tiny.compvis(), path / "sd.ckpt")
    return path / "sd.ckpt"


def as_safetensors(tiny: Tiny, path: Path) -> Path:
    save_file({n: t.contiguous() for n, t in tiny.compvis().items()}, path / "sd.safetensors")
    return path / "sd.safetensors"


def as_folder(tiny: Tiny, path: Path) -> Path:
    return tiny.folder(path / "folder")


def as_old_folder(tiny: Tiny, path: Path) -> Path:
    """Give a folder of pickles whose autoencoder has the attention names of old."""
    folder = tiny.folder(path / "folder")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = tiny.tensors("vae")
    for new, was in old.items():
        vae = {n.replace(f"attentions.0.{new}.", f"attentions.0.{was}."): t for n, t in vae.items()}
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in vae
    for name, tensors in (("unet", tiny.tensors("unet")), ("vae", vae)):
        (folder / name / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(tensors, folder / name / "diffusion_pytorch_model.bin")
    return folder


FORMS: list[Callable[[Tiny, Path], Path]] = [
    as_ckpt,
    as_legacy_ckpt,
    as_bare_ckpt,
    as_safetensors,
    as_folder,
    as_old_folder,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_converted_networks_compute_the_same_bits(
    form: Callable[[Tiny, Path], Path], tiny: Tiny, tmp_path: Path
) -> None:
    said = convert(form(tiny, tmp_path), tmp_path / "store", NETWORKS)
    store = CheckpointStore(tmp_path / "store")
    files = [path for path in everything_in(store.root) if path.is_file()]
    assert [path.relative_to(store.root).as_posix() for path in files] == WRITTEN
    unet = UNet2DConditionModel.from_config(store.config(SD_UNET)).eval()
    unet.load_state_dict(store.load(SD_UNET), strict=True)
    assert torch.equal(tiny.noise_of(unet), tiny.noise_of(tiny.unet))
    vae = load_autokl(store)
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    latent = vae.encode(pixels).latent_dist.mean
    assert torch.equal(latent, tiny.vae.encode(pixels).latent_dist.mean)
    assert torch.equal(vae.decode(latent).sample, tiny.vae.decode(latent).sample)
    assert len(said) == 3
    assert "openai/clip-vit-large-patch14" in said[2]


def test_half_precision_stays_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    halves = {n: t.to(torch.float16) for n, t in tiny.compvis().items()}
    convert(saved(tmp_path / "sd.ckpt", halves), tmp_path / "store", NETWORKS)
    written = load_file(tmp_path / "store/sd-v1-4-unet/model.safetensors")
    own = tiny.tensors("unet")
    assert all(torch.equal(written[name], own[name].half()) for name in own)


def test_what_the_store_has_is_kept(tiny: Tiny, tmp_path: Path) -> None:
    source, store = as_ckpt(tiny, tmp_path), tmp_path / "store"
    kept = store / "kl-f8/model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    (store / "sd-v1-4-unet").mkdir()  # without weights, hence not there
    (store / "sd-v1-4-unet.part").mkdir()  # of a run that was killed
    said = convert(source, store, NETWORKS)
    assert kept.read_bytes() == b"mine"
    assert said[0].startswith("sd-v1-4-unet: written, 686 tensors")
    assert said[1].startswith("kl-f8: kept")
    assert not (store / "sd-v1-4-unet.part").exists()


def test_running_averages_are_preferred(tiny: Tiny, tmp_path: Path) -> None:
    tensors = tiny.compvis()
    raw = [name for name in tensors if name.startswith("model.diffusion_model.")]
    for name in raw:
        tensors["model_ema." + name.removeprefix("model.").replace(".", "")] = tensors[name]
        tensors[name] = tensors[name] + 1
    said = convert(saved(tmp_path / "full.ckpt", tensors), tmp_path / "store", NETWORKS)
    written = load_file(tmp_path / "store/sd-v1-4-unet/model.safetensors")
    own = tiny.tensors("unet")
    assert all(torch.equal(written[name], own[name]) for name in own)
    assert said[0].endswith("running averages")


@pytest.mark.parametrize("form", [as_ckpt, as_folder], ids=lambda form: form.__name__)
def test_the_text_tower_is_compared_with_the_stores(
    form: Callable[[Tiny, Path], Path], tiny: Tiny, tmp_path: Path
) -> None:
    clip = tmp_path / "store/clip-vit-l14/model.safetensors"
    clip.parent.mkdir(parents=True)
    text = tiny.tensors("text_encoder")
    save_file({n: t.half() for n, t in text.items()}, clip)
    source = form(tiny, tmp_path)
    assert convert(source, clip.parent.parent, NETWORKS)[2].endswith("text tower is the file's")
    text["text_model.final_layer_norm.bias"] = text["text_model.final_layer_norm.bias"] + 0.1
    save_file(text, clip)
    said = convert(source, clip.parent.parent, NETWORKS)[2]
    assert "differs from the file's in 1 tensors (text_model.final_layer_norm.bias)" in said


class Runs:
    """Unpickled, it calls a function; weights never do."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def lightning_callback(trace: Path) -> object:
    """Give an object of a class that lies in another library."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    kind = type("ModelCheckpoint", (), {"__module__": name})
    for parent in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        sys.modules.setdefault(parent, types.ModuleType(parent))
    sys.modules[name].ModelCheckpoint = kind  # type: ignore[attr-defined]
    made: object = kind()
    return made


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "system": (lambda trace: Runs(os.system, f"touch '{trace}'"), f"{os.name}.system"),
    "eval": (lambda trace: Runs(eval, f"open({str(trace)!r}, 'w')"), "eval"),
    "open": (lambda trace: Runs(open, str(trace), "w"), "io.open"),
    "lightning": (
        lightning_callback,
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    ),
}


@pytest.mark.parametrize(
    ("harm", "place"),
    [
        *[("system", place) for place in ("beside", "within", "alone", "legacy", "folder")],
        *[("eval", place) for place in ("within", "alone")],
        *[("lightning", place) for place in ("beside", "within", "legacy")],
        ("open", "within"),
    ],
)
def test_pickled_code_is_refused_by_name_and_never_run(
    harm: str, place: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trace = tmp_path / "trace"
    make, name = HARMS[harm]
    thing, path = make(trace), tmp_path / "sd.ckpt"
    weights: dict[str, Any] = tiny.compvis()
    if place == "beside":
        saved(path, weights, callbacks={"best": thing})
    elif place == "within":
        saved(path, {**weights, "model.diffusion_model.out.2.bias": thing})
    elif place == "alone":
        torch.save(thing, path)
    elif place == "legacy":
        torch.save({"x": thing, "state_dict": weights}, path, _use_new_zipfile_serialization=False)
    else:
        path = tiny.folder(tmp_path / "folder")
        (path / "unet/diffusion_pytorch_model.safetensors").unlink()
        torch.save({**tiny.tensors("unet"), "x": thing}, path / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"holds {name}, code that loading would run"):
        convert(path, tmp_path / "store", NETWORKS)
    assert not trace.exists()
    assert everything_in(tmp_path / "store") == []


def test_a_pickle_that_torch_did_not_write_is_not_run_either(tmp_path: Path) -> None:
    path, trace = tmp_path / "sd.ckpt", tmp_path / "trace"
    path.write_bytes(f"c{os.name}\nsystem\n(S\"touch '{trace}'\"\ntR.".encode())
    said = refused(path, tmp_path)
    assert f"holds {os.name}.system" in said or "is not a whole checkpoint" in said
    assert not trace.exists()


@pytest.mark.parametrize("harm", ["system", "eval", "open"])
def test_the_refused_calls_would_have_left_a_trace(harm: str, tmp_path: Path) -> None:
    function, arguments = HARMS[harm][0](tmp_path / "trace").__reduce__()  # type: ignore[misc]
    function(*arguments)
    assert (tmp_path / "trace").exists()


def refused(source: Path, tmp_path: Path) -> str:
    """Convert in vain; give the sentence after checking that nothing was left behind."""
    with pytest.raises(CheckpointError) as caught:
        convert(source, tmp_path / "store", NETWORKS)
    said = str(caught.value)
    assert everything_in(tmp_path / "store") == []
    assert "\n" not in said
    assert str(source) in said
    return said


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
@pytest.mark.parametrize(
    "form", [as_ckpt, as_legacy_ckpt, as_safetensors], ids=lambda form: form.__name__
)
def test_truncated_files_are_refused(
    form: Callable[[Tiny, Path], Path], share: float, tiny: Tiny, tmp_path: Path
) -> None:
    said = refused(cut(form(tiny, tmp_path), share), tmp_path)
    assert "is not a whole" in said
    assert "again" in said


def test_all_differences_are_in_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    unet, vae = "model.diffusion_model.", "first_stage_model."
    text = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
    gone = [f"{unet}out.2.bias", f"{unet}time_embed.0.bias", f"{vae}quant_conv.bias"]
    tensors = without(tiny.compvis(), gone)
    tensors |= {
        f"{unet}out.0.bias": torch.zeros(3),
        f"{unet}label_emb.0.0.weight": torch.zeros(2),
        f"{unet}out.0.weight": torch.zeros(8, dtype=torch.int64),
        f"{vae}loss.logvar": torch.zeros(()),
        text: torch.zeros(2, 8),
        "control.a": torch.zeros(1),
    }
    said = refused(saved(tmp_path / "sd.ckpt", tensors), tmp_path)
    for part in (
        "unet has 2 missing (conv_out.bias, time_embedding.linear_1.bias)",
        f"1 extra ({unet}label_emb.0.0.weight)",
        "1 misshapen (conv_norm_out.bias 3, expected 8)",
        "1 not floating point (conv_norm_out.weight I64)",
        f"vae has 1 missing (quant_conv.bias), 1 extra ({vae}loss.logvar)",
        "text_encoder has 1 misshapen (text_model.final_layer_norm.weight 2x8, expected 16)",
        "1 unknown (control.a)",
    ):
        assert part in said


def test_differences_of_a_folder_are_listed(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "folder")
    tensors = without(tiny.tensors("vae"), ["quant_conv.bias"])
    save_file(tensors, folder / "vae/diffusion_pytorch_model.safetensors")
    assert "vae has 1 missing (quant_conv.bias)" in refused(folder, tmp_path)


def test_another_size_of_network_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"unet has \d+ misshapen .* expected 320"):
        convert(as_ckpt(tiny, tmp_path), tmp_path / "store", V1_4)
    assert everything_in(tmp_path / "store") == []


def test_a_folder_of_another_network_is_refused_by_its_configuration(
    tiny: Tiny, tmp_path: Path
) -> None:
    folder = tiny.folder(tmp_path / "folder")
    UNet2DConditionModel.from_config({**UNET, "attention_head_dim": 4}).save_pretrained(
        folder / "unet"
    )
    assert "attention_head_dim is 4, expected 2" in refused(folder, tmp_path)
    (folder / "unet/config.json").write_text("{")
    assert "is not a network configuration" in refused(folder, tmp_path)


def test_a_file_of_one_network_alone_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    save_file(tiny.tensors("unet"), tmp_path / "unet.safetensors")
    assert "none of Stable Diffusion" in refused(tmp_path / "unet.safetensors", tmp_path)
    own = {n: t for n, t in tiny.compvis().items() if n.startswith("model.diffusion_model.")}
    said = refused(saved(tmp_path / "pruned.ckpt", own), tmp_path)
    assert "vae has none of its 248 tensors" in said
    assert "text_encoder has none of its 196 tensors" in said


def test_what_is_no_checkpoint_is_told_so(tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
    (tmp_path / "cat.png").write_bytes(picture)
    assert "is no file with weights" in refused(tmp_path / "cat.png", tmp_path)
    for name in ("cat.ckpt", "cat.safetensors"):
        (tmp_path / name).write_bytes(picture)
        assert "is not a whole" in refused(tmp_path / name, tmp_path)
    (tmp_path / "empty").mkdir()
    assert "has no weights unet/" in refused(tmp_path / "empty", tmp_path)
    assert "there is no file" in refused(tmp_path / "nowhere.ckpt", tmp_path)
    torch.save([1, 2], tmp_path / "list.ckpt")
    assert "holds a list in place of named tensors" in refused(tmp_path / "list.ckpt", tmp_path)


def test_tensors_that_are_not_plain_numbers_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    name = "model.diffusion_model.out.2.bias"
    for odd in (torch.zeros(4).to_sparse(), torch.zeros(4, device="meta")):
        tensors = {**tiny.compvis(), name: odd}
        said = refused(saved(tmp_path / "sd.ckpt", tensors), tmp_path)
        assert "1 not floating point (conv_out.bias" in said


def test_a_full_disk_leaves_nothing_behind(tiny: Tiny, tmp_path: Path) -> None:
    source, store = as_safetensors(tiny, tmp_path), tmp_path / "store"
    script = (
        "import resource, sys; from pathlib import Path; import tiny_diffusion\n"
        "from brainkit_minddiffuser.convert import convert\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]), tiny_diffusion.NETWORKS)"
    )
    command = [sys.executable, "-c", script, str(source), str(store)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    ended = subprocess.run(command, capture_output=True, text=True, env=here, check=False)
    assert ended.returncode == 1
    assert f"{store} cannot be written (File too large)" in ended.stderr
    assert everything_in(store) == []


def test_a_store_that_is_a_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(as_safetensors(tiny, tmp_path), tmp_path / "store", NETWORKS)


def test_the_command_prints_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "no.ckpt"), "--to", str(tmp_path / "store")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: there is no file")
    assert said.err.count("\n") == 1


def test_written_files_are_read_by_safetensors(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3).half(),
        "brain": torch.randn(2, 2).to(torch.bfloat16),
        "single": torch.randn(()),
        "double": torch.randn(0, 3, dtype=torch.float64),
        "text": torch.randn(TEXT["hidden_size"]),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    with open_weights(tmp_path / "a.safetensors") as opened:
        write_safetensors(tmp_path / "b.safetensors", opened.entries, opened.read)
    assert opened.entries["brain"] == Entry("BF16", (2, 2))
    written = load_file(tmp_path / "b.safetensors")
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
