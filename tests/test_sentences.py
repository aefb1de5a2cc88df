"""Sentence similarity: the network against transformers' own pipeline, its release, its scores."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Stimuli
from brainkit.errors import CheckpointError
from brainkit.fetch import known
from brainkit.networks.minilm import MINILM
from brainkit.networks.minilm.network import load_sentence_embedding
from brainkit.networks.minilm.released import MINILM as RELEASE
from brainkit.run import readers
from brainkit.run.score import Outputs, output_scorers
from brainkit.weights.conversion import conversions
from brainkit.weights.convert import ReleasedFiles, convert
from brainkit.weights.random import RandomStore
from brainkit.weights.writing import write

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "cat",
    "dog",
    "sits",
    "##s",
    "cafe",
    ".",
]
CONFIG = {
    **RELEASE.config,
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
}
TEXTS = ["A cat sits.", "dogs", "", "a Café " * 9, "a bird"]


def published(folder: Path) -> BertModel:
    """Write a tiny random network as sentence-transformers publishes its own, tokenizer beside."""
    torch.manual_seed(0)
    network = BertModel(BertConfig.from_dict(CONFIG)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    folder.mkdir(parents=True)
    places = {"embeddings.position_ids": torch.arange(12)[None]}
    save_file({**network.state_dict(), **places}, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return network


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """A store with a tiny network in place of the released one."""
    published(tmp_path / "published")
    place = tmp_path / "store" / MINILM.name
    place.mkdir(parents=True)
    with ExitStack() as stack:
        (found,) = conversions([RELEASE], [tmp_path / "published"], CONFIG, stack)
        assert found.differences == ()
        write(found, place)
    return CheckpointStore(tmp_path / "store")


def as_defined(folder: Path, texts: list[str]) -> torch.Tensor:
    """Return embeddings one text at a time, so that there is no padding to be left out."""
    network = published(folder)
    tokenizer = BertTokenizer.from_pretrained(folder, do_lower_case=True)
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=12).input_ids])
        hidden = network(ids).last_hidden_state[0]
        mean = sum(hidden) / len(hidden)
        rows.append(mean / mean.square().sum().sqrt())
    return torch.stack(rows).detach()


def test_embeddings_are_means_over_tokens_at_unit_length(store, tmp_path):
    found = load_sentence_embedding(store)(TEXTS)
    torch.testing.assert_close(found, as_defined(tmp_path / "again", TEXTS), rtol=0, atol=1e-5)
    assert found.dtype == torch.float32
    assert load_sentence_embedding(store)([]).shape == (0, 24)
    assert len({tuple(row.tolist()) for row in found}) == len(TEXTS)


def test_scores_are_cosines_with_the_first_and_with_the_closest_reference(store, tmp_path):
    references = [["a dog", "a cat"], ["dogs"], ["sits.", "a cat sits", "cat"]]
    decoded = ["a cat", "dogs", "a dog sits"]
    scores = _scores(store, decoded, references)
    rows = as_defined(tmp_path / "again", decoded).numpy()
    true = [as_defined(tmp_path / f"of{i}", own).numpy() for i, own in enumerate(references)]
    cosines = [own @ row for own, row in zip(true, rows, strict=True)]
    first, every = (scores[f"{readers.SENTENCES}@{of}"] for of in ("1ref", "allref"))
    np.testing.assert_allclose(first.per_item, [each[0] for each in cosines], atol=1e-5)
    np.testing.assert_allclose(every.per_item, [max(each) for each in cosines], atol=1e-5)
    assert first.mean == pytest.approx(np.mean([each[0] for each in cosines]), abs=1e-5)
    assert every.per_item[0] == pytest.approx(1, abs=1e-5)
    assert first.per_item[0] < 0.999


def _scores(store: CheckpointStore, decoded: list[str], references: list[list[str]]):
    n_images = len(decoded)
    shown = Stimuli(np.zeros((n_images, 8, 8, 3), np.uint8), references, np.arange(n_images))
    scorers = output_scorers(
        readers.Sight(store, "released"), shown, {"brain": Outputs(captions=[decoded])}
    )
    return {each.name: each for scorer in scorers for each in scorer.score("brain", None)}


def test_without_the_network_one_sentence_says_what_to_do(tmp_path):
    score = _scores(CheckpointStore(tmp_path), ["a cat"], [["a dog"]])[f"{readers.SENTENCES}@1ref"]
    path = tmp_path / MINILM.name / "model.safetensors"
    assert score.notes == (f"not computed ({path} is missing, run `brainkit fetch {MINILM.name}`)",)
    for networks in ("miniature", "random"):
        assert readers.unread_texts(readers.Sight(CheckpointStore(tmp_path), networks)) == ()


def test_reports_hang_on_the_network(store):
    stamps = readers.stamps(readers.Sight(store, "released"), pictures=False, captions=True)
    assert stamps == ["absent", "absent", store.fingerprint(MINILM)]


def test_the_release_has_the_shapes_that_are_published():
    shapes = RELEASE.shapes(RELEASE.config)
    assert shapes["embeddings.word_embeddings.weight"] == (30522, 384)
    assert shapes["encoder.layer.5.intermediate.dense.weight"] == (1536, 384)
    assert len(shapes) == 5 + 6 * 16
    # 22,713,216 parameters in all, of which the pooler has 147,840.
    pooler = 384 * 384 + 384
    assert sum(np.prod(shape) for shape in shapes.values()) == 22_713_216 - pooler
    places = 512 * 8
    header = RELEASE.origins[0].files[0].size - 4 * 22_713_216 - places
    assert 8000 < header < 20_000


def test_random_weights_have_the_released_sizes(tmp_path):
    random = RandomStore(tmp_path)
    assert random.has(MINILM)
    drawn = random.load(MINILM)
    network = BertModel(BertConfig.from_dict(random.config(MINILM)), add_pooling_layer=False)
    network.load_state_dict(drawn, strict=True)
    hidden = network(torch.tensor([[101, 2000, 102]])).last_hidden_state
    assert hidden.shape == (1, 3, 384)
    assert hidden.isfinite().all()


def test_a_network_within_a_larger_one_is_found_too(tmp_path):
    whole = BertForMaskedLM(BertConfig.from_dict(CONFIG))
    own = {name: t.clone() for name, t in whole.state_dict().items() if name.startswith("bert.")}
    (tmp_path / "given").mkdir()
    save_file(own, tmp_path / "given" / "model.safetensors")
    with ExitStack() as stack:
        (found,) = conversions([RELEASE], [tmp_path / "given"], CONFIG, stack)
        assert found.differences == ()


def test_another_network_and_other_files_are_refused(store, tmp_path):
    published(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(CONFIG | {"hidden_act": "relu"}))
    with pytest.raises(CheckpointError, match="hidden_act"):
        convert([MINILM.release], ReleasedFiles((tmp_path / "other",)), tmp_path / "new")
    path = store.folder(MINILM) / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"is not a tokenizer .* run `brainkit fetch"):
        load_sentence_embedding(store)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"lacks .*tokenizer\.json; run `brainkit fetch"):
        load_sentence_embedding(store)


def test_it_is_fetched_by_name_and_for_methods_that_write_captions(registry):
    (found,) = known.named(registry, MINILM.name)
    assert found.release is RELEASE
    assert known.known(registry)[MINILM.name].scores
