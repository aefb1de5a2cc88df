"""Screening of captions: the rule, tables that replace it, and how both are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import brainkit.miniature.checkpoints as shipped
from brainkit.checkpoints import CheckpointStore
from brainkit.errors import DataError
from brainkit.nsd import load_captions
from brainkit.nsd.design import load_design
from brainkit.testing import tiny_nsd
from brainkit_mindreader.captions.curated import read_curated, tidied
from brainkit_mindreader.captions.screening import compared, main, ruled, screened

GOLDEN = load_file(
    Path(__file__).parent / "golden/targets/caption_screening_proposed_rule.safetensors"
)
STORE = CheckpointStore(Path("nowhere"), miniature=True)


@pytest.mark.parametrize("scale", [100, 20])
def test_the_rule_keeps_the_golden_captions(scale):
    pairs = zip(GOLDEN["image_embedding"], GOLDEN["caption_embedding"], strict=True)
    found = torch.stack([screened(*pair, ratio=0.5, scale=scale) for pair in pairs])
    assert torch.equal(found, GOLDEN[f"keep.scale{scale}"])


def test_the_rule_keeps_the_golden_captions_where_some_are_missing():
    found = torch.zeros_like(GOLDEN["ragged_valid"])
    for row, valid in enumerate(GOLDEN["ragged_valid"]):
        captions = GOLDEN["caption_embedding"][row, valid]
        found[row, valid] = screened(GOLDEN["image_embedding"][row], captions)
    assert torch.equal(found, GOLDEN["keep.scale100.ragged"])


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize("scale", [1e-3, 100.0, 1e5])
def test_at_least_one_caption_is_kept_and_the_likeliest_is(ratio, scale):
    generator = torch.Generator().manual_seed(3)
    for count in (1, 2, 5, 7):
        image = torch.randn(16, generator=generator)
        captions = torch.randn(count, 16, generator=generator)
        kept = screened(image, captions, ratio, scale)
        best = int(torch.nn.functional.normalize(captions, dim=1).matmul(image).argmax())
        assert kept.shape == (count,)
        assert bool(kept[best])


def test_equal_captions_are_all_kept_and_ratio_0_keeps_any():
    image, caption = torch.ones(4), torch.tensor([1.0, 2.0, -1.0, 0.5])
    assert screened(image, caption.expand(5, 4), ratio=0.99).all()
    assert screened(image, torch.stack([caption, -caption]), ratio=0.0).all()


def test_lengths_and_order_of_embeddings_do_not_matter():
    image, captions = GOLDEN["image_embedding"][0], GOLDEN["caption_embedding"][0]
    kept = screened(image, captions)
    stretched = captions * torch.tensor([0.1, 3.0, 20.0, 1.0, 0.5])[:, None]
    assert torch.equal(screened(7 * image, stretched), kept)
    assert torch.equal(screened(image, captions.flip(0)), kept.flip(0))


CELLS = [["a dog, on  grass", "", 'it "barks"'], ["", "two cats", ""]]
KEPT = [("a dog, on grass", 'it "barks"'), ("two cats",)]


def as_npy(path):
    np.save(path.with_suffix(".npy"), np.array(CELLS))
    return path.with_suffix(".npy")


def as_csv(path):
    lines = ['"a dog, on  grass",,"it ""barks"""', ",two cats"]
    path.with_suffix(".csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path.with_suffix(".csv")


def as_jsonl(path):
    path.with_suffix(".jsonl").write_text("\n".join(json.dumps(row) for row in CELLS))
    return path.with_suffix(".jsonl")


@pytest.mark.parametrize("write", [as_npy, as_csv, as_jsonl])
def test_a_table_gives_the_captions_that_are_not_empty(write, tmp_path):
    table = read_curated(write(tmp_path / "table"))
    assert [table(0), table(1)] == KEPT
    for outside in (2, -1):
        with pytest.raises(DataError, match=f"has 2 rows but image id {outside} is asked for"):
            table(outside)


@pytest.mark.parametrize(
    ("name", "content"), [("t.jsonl", '["", " "]\n["b"]'), ("t.csv", "\nb\n"), ("u.csv", ' ,""\nb')]
)
def test_an_image_without_a_caption_is_told_when_it_is_asked_for(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    table = read_curated(tmp_path / name)
    assert table(1) == ("b",)
    with pytest.raises(DataError, match=r"keeps no caption of image id 0, .* fill the row"):
        table(0)


class Trap:
    """Pickles to a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_table_of_pickled_objects_is_refused_and_runs_nothing(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "table.npy"
    np.save(path, np.array([[Trap(marker)]], dtype=object))
    with pytest.raises(DataError, match=r"table\.npy holds pickled objects.*array\.astype\(str\)"):
        read_curated(path)
    assert not marker.exists()


def test_what_the_refusal_advises_makes_a_table_that_is_read(tmp_path):
    objects = np.array([[*CELLS[0]], [*CELLS[1]]], dtype=object)
    np.save(tmp_path / "new.npy", objects.astype(str))
    table = read_curated(tmp_path / "new.npy")
    assert [table(0), table(1)] == KEPT


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.txt", b"a", r"ends in '\.txt', expected one of \.npy, \.csv, \.jsonl"),
        ("t.npy", b"not numpy", "holds pickled objects"),
        ("t.npy", b"", "damaged"),
        ("t.csv", b"\xff\xfe,", "damaged"),
        ("t.csv", b'a,"b', "damaged"),
        ("t.jsonl", b'["a"]\n{"b": 1}', "in line 2, expected a list of strings"),
        ("t.jsonl", b'["a"]\n\n["b"]', "in line 2, expected a list of strings"),
        ("t.jsonl", b'["a", 1]', "in line 1, expected a list of strings"),
        ("t.jsonl", b'["a"', "damaged"),
        ("t.jsonl", b"[" * 100_000, "damaged"),
    ],
)
def test_a_table_of_another_form_is_told_in_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as raised:
        read_curated(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_arrays_of_another_kind_or_cut_short_are_refused(tmp_path):
    path = tmp_path / "t.npy"
    for wrong in (np.zeros((2, 5)), np.array(["a", "b"]), np.array([[b"a"]])):
        np.save(path, wrong)
        with pytest.raises(DataError, match=r"expected unicode \(images, captions\)"):
            read_curated(path)
    np.save(path, np.array(CELLS))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="damaged"):
        read_curated(path)
    with path.open("wb") as file:
        np.savez(file, a=np.array(CELLS))
    with pytest.raises(DataError, match="expected unicode"):
        read_curated(path)
    with pytest.raises(DataError, match=r"absent\.npy cannot be read"):
        read_curated(tmp_path / "absent.npy")


def test_white_space_is_collapsed_and_empty_texts_left_out():
    assert tidied([" a\n b ", "", "\t", "c"]) == ("a b", "c")


def test_agreement_is_counted_by_hand():
    found = compared(
        [[True, True, False], [True, False]],
        [[True, False, False], [True, False]],
    )
    assert (found.images, found.captions, found.kept) == (2, 5, (3, 2))
    assert (found.alike, found.whole) == (4, 1)
    assert found.expected == pytest.approx(3 / 5 * 2 / 5 + 2 / 5 * 3 / 5)


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    return tiny_nsd(tmp_path_factory.mktemp("nsd"))


@pytest.fixture
def checked(nsd, tmp_path, capsys):
    """Run the command on a tiny download with a table; gives (status, lines, errors)."""
    (tmp_path / "store").mkdir()
    weights = Path(shipped.__path__[0]) / "clip_b32"
    (tmp_path / "store" / "clip-vit-b32").symlink_to(weights, target_is_directory=True)

    def check(*arguments):
        given = ["--nsd", str(nsd), "--checkpoints", str(tmp_path / "store"), "--device", "cpu"]
        status = main([*given, *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return check


def rows_by_id(nsd, keep):
    """Return a table's rows for every image id, filled where the subject saw the image."""
    ids = np.unique(load_design(nsd, 1).image_ids)
    rows = [[""] for _ in range(max(ids) + 1)]
    for image_id, (texts, mask) in zip(ids, ruled(nsd, ids, STORE), strict=True):
        rows[image_id] = keep(texts, mask)
    return rows


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_check_finds_a_table_made_by_the_rule_to_agree_wholly(nsd, checked, tmp_path):
    def rejected_are_empty(texts, mask):
        return [text if kept else "" for text, kept in zip(texts, mask, strict=True)]

    path = write_rows(tmp_path / "t.jsonl", rows_by_id(nsd, rejected_are_empty))
    status, lines, _ = checked("--curated", path)
    assert status == 0
    assert lines[0] == "24 images, 120 captions"
    assert lines[3].startswith("decided alike: 100.0 % of captions")
    assert lines[3].endswith("all captions of 100.0 % of images")
    assert lines[4].endswith(": 0")


def test_the_check_finds_the_opposite_table_to_disagree_wholly(nsd, checked, tmp_path):
    def rejected_alone(texts, mask):
        return [text for text, kept in zip(texts, mask, strict=True) if not kept] or [
            "none of them"
        ]

    rows = rows_by_id(nsd, rejected_alone)
    status, lines, _ = checked("--curated", write_rows(tmp_path / "t.jsonl", rows))
    assert status == 0
    assert lines[3].startswith("decided alike: 0.0 % of captions")
    assert lines[4].endswith(f": {sum(row == ['none of them'] for row in rows)}")


def test_the_check_without_a_table_compares_with_keeping_all(nsd, checked):
    status, lines, _ = checked()
    kept = [sum(mask) for _, mask in ruled(nsd, np.unique(load_design(nsd, 1).image_ids), STORE)]
    share = f"{100 * sum(kept) / 120:.1f} % of captions"
    assert status == 0
    assert lines[1].startswith(f"kept by the rule: {share}")
    assert lines[2] == "kept by all: 100.0 % of captions, 5.00 an image"
    assert lines[3].startswith(f"decided alike: {share}")
    assert 0 < sum(kept) < 120
    assert checked("--images", 3)[1][0] == "3 images, 15 captions"
    assert "100.0 %" in checked("--ratio", 0)[1][1]


def test_the_check_tells_errors_in_one_sentence(checked, tmp_path):
    status, lines, said = checked("--curated", tmp_path / "absent.npy")
    assert (status, lines) == (1, [])
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert checked("--subject", 2)[0] == 1


@pytest.mark.parametrize("wrong", [["--nsd", "x"], ["--ratio", "1"], ["--images", "0"]])
def test_the_check_refuses_wrong_usage(wrong):
    with pytest.raises(SystemExit) as raised:
        main(wrong)
    assert raised.value.code == 2


def test_coco_captions_are_screened_even_where_the_download_is_curated(nsd):
    ids = np.unique(load_design(nsd, 1).image_ids)[:2]
    texts = [texts for texts, _ in ruled(nsd, ids, STORE)]
    assert texts == list(load_captions(nsd, ids, curated=False))
