"""Optimus' tokenizers, made from published vocabularies, give the ids they always gave."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import tensors
from released_files import converted, save
from test_optimus import NET
from tokenizers import Tokenizer
from transformers import BertTokenizer, GPT2Tokenizer

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.weights.tokenizers import BERT_SPECIAL, bert_file, gpt2_file
from brainkit_unibrain.loading import load_reader, load_writer
from brainkit_unibrain.parts import OptimusDecoder
from brainkit_unibrain.released import OPTIMUS, OWN_TOKENS
from brainkit_unibrain.sentences import clean

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SENTENCES = [
    "a man rides a wave on top of a surfboard.",
    "two zebras, next to each other!",
    "a café with 3 people's bikes; it's sunny",
    "naïve  double\tspaces \u00a0 and 狗 control\u0007marks",
    "isn't [MASK] \u201cquoted\u201d - double-decker",
    "",
    "x" * 120,
]
"""With accents, marks, odd spaces, signs of other scripts, a word too long for any vocabulary."""

BERT_PIECES = [
    *BERT_SPECIAL[:1], "[unused1]", *BERT_SPECIAL[1:], *LETTERS, *(f"##{each}" for each in LETTERS),
    "man", "wave", "surf", "##board", "caf", "##é", "é", "zebra", "##s", "3", "people", ".", ",",
    "!", "'", ";", "-", "\u201c", "狗", "[", "]", "two", "next",
]  # fmt: skip
MERGES = ["Ġ a", "m a", "Ġ w", "ma n", "Ġ man", "a v", "Ġw av", "Ġwav e", "i s", "n '", "Ġ s"]
END = "<|endoftext|>"


def gpt2_pieces() -> list[str]:
    """Make 120 pieces, as many as the golden network's vocabulary has before Optimus' own."""
    made = [merge.replace(" ", "") for merge in MERGES]
    marks = list("Ġ.,!'-Ã©0123456789")
    few = [*LETTERS, *marks, *made]
    return [*few, *(f"piece{i}" for i in range(119 - len(few))), END]


def bert_files(folder: Path) -> Path:
    path = folder / "vocab.txt"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(dict.fromkeys(BERT_PIECES)) + "\n", encoding="utf-8")
    return path


def gpt2_files(folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    table = {piece: number for number, piece in enumerate(gpt2_pieces())}
    (folder / "vocab.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), encoding="utf-8")
    return folder / "vocab.json", folder / "merges.txt"


def writer_file(paths: tuple[Path, ...]) -> bytes:
    return gpt2_file(paths, added=OWN_TOKENS)


def opened(content: bytes) -> Any:
    return Tokenizer.from_str(content.decode())


@pytest.fixture
def bert(tmp_path: Path) -> Any:
    bert_files(tmp_path / "bert")
    return BertTokenizer.from_pretrained(tmp_path / "bert", do_lower_case=False)


@pytest.fixture
def gpt2(tmp_path: Path) -> Any:
    gpt2_files(tmp_path / "gpt2")
    return GPT2Tokenizer.from_pretrained(tmp_path / "gpt2")


def test_sentences_are_cut_like_transformers_bert(tmp_path: Path, bert: Any) -> None:
    ours = opened(bert_file((bert_files(tmp_path),)))
    ids = [ours.encode(each).ids for each in SENTENCES]
    assert ids == [bert(each).input_ids for each in SENTENCES]
    assert len({tuple(each) for each in ids}) == len(SENTENCES)
    unknown = ours.token_to_id("[UNK]")
    assert any(unknown not in each for each in ids[:2])
    assert ids[-1] == [ours.token_to_id("[CLS]"), unknown, ours.token_to_id("[SEP]")]


def test_sentences_are_cut_and_joined_like_transformers_gpt2(tmp_path: Path, gpt2: Any) -> None:
    ours = opened(writer_file(gpt2_files(tmp_path)))
    sentences = ["a man waves", " a man isn't a wave.", "two-man, 3 man!", "café"]
    for sentence in sentences:
        ids = ours.encode(sentence).ids
        assert ids == gpt2(sentence).input_ids
        assert ours.decode(ids) == gpt2.decode(ids) == sentence
    draw = torch.Generator().manual_seed(0)
    for ids in torch.randint(0, 119, (50, 12), generator=draw).tolist():
        assert ours.decode(ids) == gpt2.decode(ids, clean_up_tokenization_spaces=False)


def golden_ids() -> Any:
    """Return texts, and the ids that brainkit's own tables gave before transformers made them."""
    path = Path(__file__).parent / "golden" / "tokenizer_ids.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_odd_texts_get_the_ids_they_always_got(tmp_path: Path) -> None:
    """Accents, emoji, other scripts, special tokens in a text, nothing, and long ones."""
    known = golden_ids()
    reader = opened(bert_file((bert_files(tmp_path),)))
    writer = opened(writer_file(gpt2_files(tmp_path)))
    for tokenizer, name in ((reader, "bert"), (writer, "gpt2")):
        assert [tokenizer.encode(each).ids for each in known["texts"]] == known[name]
        assert [tokenizer.decode(each) for each in known[name]] == known[f"{name} decoded"]


def test_the_writers_own_tokens_follow_gpt2s_in_their_order(tmp_path: Path) -> None:
    ours = opened(writer_file(gpt2_files(tmp_path)))
    assert [ours.token_to_id(each) for each in OWN_TOKENS] == [120, 121, 122]
    assert ours.get_vocab_size() == 123
    # With the 50257 pieces of the published vocabulary these are the released network's ids.
    config = OPTIMUS.config
    assert [config["pad"], config["bos"], config["eos"]] == [50_257 + i for i in range(3)]
    assert ours.decode([121, 0, 120, 122]) == "a"


def test_a_tokenizer_file_gives_what_the_two_tables_give(tmp_path: Path, bert: Any) -> None:
    made = writer_file(gpt2_files(tmp_path))
    for name, merges in (("pairs", [each.split(" ") for each in MERGES]), ("strings", MERGES)):
        loaded = json.loads(made)
        loaded["model"]["merges"] = merges
        loaded["added_tokens"] = loaded["added_tokens"][:1]
        path = tmp_path / name / "tokenizer.json"
        path.parent.mkdir()
        path.write_text(json.dumps(loaded), encoding="utf-8")
        assert writer_file((path, path)) == made
    bert.save_pretrained(tmp_path / "saved")
    reader = json.loads(bert_file((tmp_path / "saved/tokenizer.json",)))
    assert reader == json.loads(bert_file((bert_files(tmp_path),)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\nb\n", r"has no \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        ("a\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", r"has \[PAD\] as number 1"),
    ],
)
def test_another_vocabulary_than_berts_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(CheckpointError, match=said):
        bert_file((tmp_path / "vocab.txt",))


@pytest.mark.parametrize(
    ("table", "merges", "said"),
    [
        ({"a": 0, "b</w>": 1, END: 2}, "", "is not GPT-2's vocabulary"),
        ({"a": 0, "b": 1}, "", "is not GPT-2's vocabulary"),
        ({"a": 0, "b": 2, END: 3}, "", "from 0 without gaps"),
        ({"a": "x"}, "", "no table from pieces to numbers"),
        ([1], "", "not the whole file of a tokenizer"),
        ({"a": 0, "b": 1, END: 2}, "a b", "joins 'a b', which the vocabulary beside it lacks"),
        ({"a": 0, "b": 1, END: 2}, "a", "joins 'a', which the vocabulary beside it lacks"),
    ],
)
def test_another_vocabulary_than_gpt2s_is_refused(
    tmp_path: Path, table: Any, merges: str, said: str
) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(table))
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    with pytest.raises(CheckpointError, match=said):
        writer_file((tmp_path / "vocab.json", tmp_path / "merges.txt"))


def golden_store(folder: Path) -> CheckpointStore:
    """Convert the golden network with both vocabularies beside it."""
    save(tensors("tiny_optimus"), folder / "given/optimus-vae.pth")
    bert_files(folder / "given/bert-base-cased")
    gpt2_files(folder / "given/gpt2")
    found = converted(OPTIMUS, folder / "given", folder / "store", asdict(NET.config))
    assert found.lacks == ()
    return CheckpointStore(folder / "store")


def test_a_converted_reader_gives_the_posterior_of_berts_pieces(tmp_path: Path, bert: Any) -> None:
    sentences = ["A man, two zebras.", "a café"]
    found = load_reader(golden_store(tmp_path))(sentences)
    ids = bert([each.lower() for each in sentences], padding=True, return_tensors="pt").input_ids
    wanted, _ = NET.encoder.posterior(ids)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_a_converted_writer_writes_the_golden_tokens(tmp_path: Path, gpt2: Any) -> None:
    golden = tensors("optimus")
    options = OptimusDecoder(decode="greedy", remove_repeats=False, length=10)
    wrote = load_writer(golden_store(tmp_path), options)(golden["dec_latent"], [0, 0])
    rows = golden["dec_greedy_tokens"].tolist()  # the begin and eight tokens
    assert wrote == [clean(gpt2.decode([each for each in row if each < 120])) for row in rows]
    assert all(wrote)


def test_a_tokenizer_of_another_network_is_told(tmp_path: Path) -> None:
    store = golden_store(tmp_path)
    path = tmp_path / "store/optimus-vae/config.json"
    values = asdict(replace(NET.config, eos=119))
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"'<EOS>': 122.*expected at most 123.*'<EOS>': 119"):
        load_writer(store, OptimusDecoder())
    (tmp_path / "store/optimus-vae/reader/tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        load_reader(store)
    (tmp_path / "store/optimus-vae/reader/tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="brainkit fetch optimus-vae"):
        load_reader(store)
