"""Random weights in released sizes: what is drawn, which tokenizers stand in, what a run says."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

import brainkit
from brainkit.data import Checkpoint, Selection
from brainkit.errors import CheckpointError, UsageError
from brainkit.method import Method
from brainkit.networks.clip.network import load_tokenizer
from brainkit.plugins import Registry, Source
from brainkit.regressors import Ridge
from brainkit.report import RANDOM_LINE
from brainkit.run import prepare, run
from brainkit.run.config import RunConfig
from brainkit.run.publish import summary
from brainkit.samplers.diffusion import DDIM
from brainkit.weights import Release
from brainkit.weights.random import BLOCK, RandomStore, drawn, stand_in

SHAPES = {"net.weight": (192, 192), "net.bias": (192,), "norm.weight": (192,)}
NET = Release("net", (), config={"side": 8}, shapes=lambda config: SHAPES)
WORDS = Release(
    "words",
    (),
    config={"text_config": {"vocab_size": 49_408, "max_position_embeddings": 77}},
    shapes=lambda config: {"text.embedding.weight": (49_408, 2)},
)
SIZELESS = Release("sizeless", ())
TOY_NET = Checkpoint("net", release=f"{__name__}:NET")
TOY_WORDS = Checkpoint(
    "words", miniature="brainkit.miniature.checkpoints:clip", release=f"{__name__}:WORDS"
)
CLIP_TOKENIZER = (
    Path(brainkit.__file__).parent / "miniature" / "checkpoints" / "clip" / "tokenizer.json"
)


@dataclass(frozen=True)
class Mixed:
    """Coarse pictures turned by the toy network, float32 (3, side, side)."""

    name = "toy-mixed"
    reads = "image"
    checkpoints = (TOY_NET,)

    def shape(self, store):
        side = store.config(TOY_NET)["side"]
        return (3, side, side)

    def load(self, store):
        weights = store.load(TOY_NET)

        def encode(stimuli):
            pixels = torch.as_tensor(stimuli.images).permute(0, 3, 1, 2).float() / 127.5 - 1
            coarse = torch.nn.functional.adaptive_avg_pool2d(pixels, 8).flatten(1)
            return (coarse @ weights["net.weight"].T).view(-1, *self.shape(store))

        return encode


@pytest.fixture
def methods(toy) -> Registry:
    """A registry with a method whose encoder has a network."""
    method = Method(
        name="mixed",
        summary="toys",
        source="none",
        encoders={"picture": Mixed(), "length": toy.Length()},
        regressors=dict.fromkeys(("picture", "length"), Ridge(alpha=10.0)),
        conditioner=toy.Straight(),
        sampler=DDIM(steps=4),
        decoders={"image": toy.Enlarged(), "caption": toy.Counted()},
        selection=Selection(sessions=37),
        presets={
            "miniature": {
                "selection.sessions": "available",
                "regressor.alpha": 30.0,
                "sampler.steps": 2,
            }
        },
        scores=("n_way",),
    )
    unknown = replace(
        method,
        name="unknown",
        encoders={"picture": _Other(), "length": toy.Length()},
    )
    from brainkit import hookimpl

    class Plugin:
        @hookimpl
        def register_methods(self, register):
            register(method)
            register(unknown)

    return Registry([Source("mixed", "brainkit-mixed 1.0", Plugin)])


@dataclass(frozen=True)
class _Other(Mixed):
    checkpoints = (Checkpoint("other"),)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which the miniature has 30 training images and 40 voxels."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def do(methods, home, tmp_path, monkeypatch):
    """Run the method with settings and give the prepared run and the folder of results."""
    monkeypatch.setenv("BRAINKIT_HOME", str(home))
    small = {"train_images": 30, "test_images": 6, "voxels": 40}

    def doing(**settings):
        settings = {"method": "mixed", "work": tmp_path, "weights": "random", **settings}
        if settings.get("nsd") is None:
            hard = {f"miniature.{name}": value for name, value in small.items()}
            settings["options"] = {**hard, **settings.get("options", {})}
        prepared = prepare(RunConfig(**settings), methods, [].append)
        return prepared, run(prepared).parent

    return doing


def test_a_tensor_depends_on_its_checkpoint_and_name_alone(tmp_path):
    store = RandomStore(tmp_path)
    whole, part = store.load(TOY_NET), store.load(TOY_NET, "net.")
    assert torch.equal(whole["net.weight"], part["weight"])
    assert torch.equal(whole["net.weight"], RandomStore(tmp_path / "b").load(TOY_NET)["net.weight"])
    assert not torch.equal(drawn("a/x.weight", (9, 9), torch.float32),
                           drawn("b/x.weight", (9, 9), torch.float32))  # fmt: skip


@pytest.mark.parametrize("shape", [(64, 1000), (40, 30, 5, 5), (1200, 800)])
def test_matrices_and_kernels_keep_the_variance_of_what_they_are_applied_to(shape):
    weight = drawn("net/layer.weight", shape, torch.float64)
    fan_in = weight[0].numel()
    assert weight.shape == shape
    # Of n normal numbers the variance is off by a share of sqrt(2 / n); 5 of those are allowed.
    share = 5 * (2 / min(weight.numel(), BLOCK)) ** 0.5
    assert float(weight.var() * fan_in) == pytest.approx(1, abs=share)


def test_gains_are_one_shifts_zero_and_embeddings_small():
    float32 = torch.float32
    assert drawn("net/norm.weight", (7,), float32).tolist() == [1.0] * 7
    assert drawn("net/norm.bias", (7,), float32).tolist() == [0.0] * 7
    assert drawn("net/bn.running_var", (7,), float32).tolist() == [1.0] * 7
    assert drawn("net/logit_scale", (), float32).item() == 0
    assert drawn("net/position_ids", (1, 5), float32).tolist() == [[0, 1, 2, 3, 4]]
    assert float(drawn("net/token_embedding.weight", (90, 80), float32).std()) < 0.03


def test_large_tensors_have_no_equal_rows():
    weight = drawn("net/layer.weight", (2048, 640), torch.bfloat16)
    assert weight.dtype == torch.bfloat16
    assert len(torch.unique(weight.float(), dim=0)) == 2048


def test_a_deep_network_keeps_finite_activations_in_half_precision():
    hidden = torch.ones(4, 256).half().float()
    for layer in range(200):
        weight = drawn(f"net/{layer}.weight", (256, 256), torch.float16).float()
        hidden = torch.nn.functional.layer_norm(hidden + torch.relu(hidden @ weight.T), (256,))
        hidden = hidden.half().float()
    assert bool(torch.isfinite(hidden).all())
    assert 0.5 < float(hidden.std()) < 2


def test_the_stand_in_for_clip_gives_77_tokens_between_the_released_ends(tmp_path):
    ids = load_tokenizer(RandomStore(tmp_path), TOY_WORDS)(["a red circle", ""])
    assert ids.shape == (2, 77)
    assert ids[:, 0].tolist() == [49_406] * 2
    assert ids[0, 4:].tolist() == [49_407] * 73
    assert ids[1, 1:].tolist() == [49_407] * 76
    assert int(ids.max()) < 49_408


def test_every_id_of_a_stand_in_can_be_read():
    tokenizer = Tokenizer.from_str(stand_in(CLIP_TOKENIZER.read_text("utf-8"), [1000]))
    assert tokenizer.get_vocab_size() == 1000
    assert all(tokenizer.decode([each], skip_special_tokens=False) for each in range(1000))


def test_words_keep_the_ids_they_have_in_the_miniature():
    text = CLIP_TOKENIZER.read_text("utf-8")
    before = Tokenizer.from_str(text)
    before.no_padding()
    after = Tokenizer.from_str(stand_in(text, [5000]))
    said = "a blue square beside a red circle"
    assert after.encode(said).ids[1:-1] == before.encode(said).ids[1:-1]
    assert after.encode(said).ids[-1] == 4999


def test_of_two_vocabularies_the_writer_ends_the_larger_and_the_reader_fits_the_smaller():
    def tokenizer(special):
        words = {"[PAD]": 0, "a": 1, "b": 2, "c": 3, "d": 4, "<END>": 5}
        added = [{"id": words[special], "content": special, "special": True}]
        return json.dumps({"added_tokens": added, "model": {"type": "WordLevel", "vocab": words}})

    reader, writer = (json.loads(stand_in(tokenizer(t), [40, 90])) for t in ("[PAD]", "<END>"))
    assert len(reader["model"]["vocab"]) == 40
    assert reader["model"]["vocab"]["[PAD]"] == 0
    assert len(writer["model"]["vocab"]) == 90
    assert writer["model"]["vocab"]["<END>"] == 89


def test_tokenizers_are_not_written_twice(tmp_path):
    store = RandomStore(tmp_path)
    path = store.folder(TOY_WORDS) / "tokenizer.json"
    written = path.stat().st_mtime_ns
    store.folder(TOY_WORDS)
    assert path.stat().st_mtime_ns == written
    path.write_text("{}")
    assert load_tokenizer(store, TOY_WORDS)(["a"]).shape == (1, 77)


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (Checkpoint("none"), "declares no release"),
        (Checkpoint("gone", release="no_such_module:NET"), "cannot be imported"),
        (Checkpoint("sizeless", release=f"{__name__}:SIZELESS"), "states no sizes"),
    ],
)
def test_networks_of_unknown_size_are_refused(tmp_path, checkpoint, said):
    store = RandomStore(tmp_path)
    assert not store.has(checkpoint)
    with pytest.raises(CheckpointError, match=said):
        store.load(checkpoint)


def test_fingerprints_follow_the_sizes(tmp_path, monkeypatch):
    from brainkit.weights import random

    before = RandomStore(tmp_path).fingerprint(TOY_NET)
    assert before == RandomStore(tmp_path / "elsewhere").fingerprint(TOY_NET)
    wider = replace(NET, shapes=lambda config: {**SHAPES, "net.bias": (193,)})
    monkeypatch.setattr(sys.modules[__name__], "NET", wider)
    random.manifest.cache_clear()
    assert RandomStore(tmp_path).fingerprint(TOY_NET) != before
    random.manifest.cache_clear()


def test_a_run_with_random_weights_is_marked_everywhere(do, tmp_path):
    prepared, folder = do()
    assert folder.parents[1] == tmp_path / f"{prepared.data.name}-random" / "subj01"
    assert re.fullmatch(r"mixed-[0-9a-f]{8}", folder.name)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["weights"] == "random"
    assert metrics["note"].startswith(RANDOM_LINE)
    assert metrics["title"] == "mixed on the miniature with random weights"
    page = (folder / "report.html").read_text()
    assert "<title>Random weights: Miniature: mixed" in page
    assert page.index(RANDOM_LINE) < page.index("<h1>")
    assert summary(prepared)[0] == RANDOM_LINE
    assert 'weights = "random"' in (folder / "run.toml").read_text()


def test_pictures_by_random_weights_are_not_judged_by_networks(do):
    _, folder = do()
    scores = json.loads((folder / "metrics.json").read_text())["scores"]
    judged = [each for each in scores if "way top-1" in each["name"]]
    assert judged
    assert all(each["value"] is None and "random weights" in each["notes"][0] for each in judged)


def test_the_network_has_its_true_size_and_the_data_their_preset(do):
    prepared, folder = do()
    assert prepared.method.selection.sessions == "available"
    assert prepared.method.regressors["picture"].alpha == 30.0
    assert prepared.method.sampler.steps == 4  # the paper's, as the networks are
    assert prepared.store.load(TOY_NET)["net.weight"].shape == (192, 192)
    assert len(list((folder / "images").glob("*.png"))) == 6


def test_a_run_on_nsd_has_a_folder_of_its_own_too(do, nsd, tmp_path):
    prepared, folder = do(nsd=nsd, options={"selection.sessions": 5})
    assert folder.parents[1] == tmp_path / f"{prepared.data.name}-random" / "subj01"
    assert prepared.data.name.startswith(f"{nsd.name}-")
    assert prepared.method.regressors["picture"].alpha == 10.0  # the paper's
    assert "note" in json.loads((folder / "metrics.json").read_text())


def test_a_second_run_computes_nothing_and_its_file_makes_it_again(do, methods, tmp_path):
    from brainkit.run.config import read_config

    _, folder = do()
    again, _ = do()
    assert not again.work.computed
    config = RunConfig(**{**read_config(folder / "run.toml"), "work": tmp_path / "other"})
    repeated = prepare(config, methods, [].append)
    run(repeated)
    first = sorted((folder / "images").glob("*.png"))
    second = sorted((repeated.folder.root / "images").glob("*.png"))
    assert [each.read_bytes() for each in first] == [each.read_bytes() for each in second]


def test_released_weights_on_the_miniature_do_not_mix_with_its_own(methods, tmp_path, monkeypatch):
    config = RunConfig("mixed", work=tmp_path, weights="released", checkpoints=tmp_path / "store")
    with pytest.raises(CheckpointError, match="brainkit fetch net"):
        prepare(config, methods, [].append)
    from brainkit.run.folder import Data, subject_folder

    def place(of: RunConfig) -> str:
        return subject_folder(tmp_path, Data("mine", "0a"), of.unusual, 1).parent.name

    assert place(config) == "mine-released"
    assert place(RunConfig("mixed", weights="released", nsd=tmp_path)) == "mine"
    assert place(RunConfig("mixed")) == "mine"


def test_a_method_whose_sizes_are_unknown_says_so_in_one_sentence(do):
    with pytest.raises(CheckpointError) as caught:
        do(method="unknown")
    said = str(caught.value)
    assert "unknown cannot run with random weights" in said
    assert "other" in said


def test_other_weights_than_there_are_meet_a_suggestion():
    with pytest.raises(
        UsageError, match=r"--weights is 'randm', expected 'released', .* Did you mean 'random'"
    ):
        RunConfig("mixed", weights="randm").check()
