import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from brainkit.errors import DataError
from brainkit.run.artefact import (
    Artefact,
    Recipe,
    is_current,
    read_header,
    read_note,
    read_recipe,
    sidecar,
    write_png,
    write_tensors,
    write_text,
    written_aside,
)
from brainkit.run.growing import GrowingTensors, TensorRows

RECIPE = Recipe(
    step="features/clip_image",
    made_by=("Ridge(alpha=60000.0, scaling='train')", "seed=0"),
    versions=("brainkit 0.1",),
    weights={"clip": "aa"},
    inputs={"trials": "01", "captions": "02"},
)


@dataclass(frozen=True)
class Walk:
    steps: int = 50
    name: str = "a, b=(c"
    stages: tuple = ((1, 2), (3, 4))
    shift: float | None = None


# --- recipes ------------------------------------------------------------------------------------


def test_a_stamp_is_sixteen_hex_digits_that_depend_on_everything():
    changes = [
        {"step": "x"}, {"made_by": ()}, {"versions": ()}, {"weights": {}}, {"inputs": {}},
        {"inputs": {"trials": "01", "captions": "03"}}, {"made_by": RECIPE.made_by[::-1]},
    ]  # fmt: skip
    stamps = {replace(RECIPE, **change).stamp for change in changes} | {RECIPE.stamp}
    assert len(stamps) == len(changes) + 1
    assert all(len(stamp) == 16 and int(stamp, 16) >= 0 for stamp in stamps)


def test_a_stamp_does_not_depend_on_the_order_of_inputs_or_the_process():
    other = replace(RECIPE, inputs=dict(reversed(RECIPE.inputs.items())))
    recipe = Recipe("a", ("b",), inputs={"c": "d"})
    code = f"from brainkit.run.artefact import Recipe; print({recipe!r}.stamp)"
    run = [sys.executable, "-c", code]
    printed = [
        subprocess.run(run, capture_output=True, text=True, check=True, env=env).stdout.strip()
        for env in ({**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2"))
    ]
    assert other.stamp == RECIPE.stamp
    assert printed == [recipe.stamp] * 2


def written(recipe):
    return json.loads(recipe.text())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (Walk(), Walk(steps=20), "steps 50 -> 20"),
        (Walk(), Walk(name="it's, so"), "name 'a, b=(c' -> \"it's, so\""),
        (Walk(), Walk(stages=((1, 2), (3, 5))), "stages ((1, 2), (3, 4)) -> ((1, 2), (3, 5))"),
        (Walk(), Walk(steps=1, shift=-0.5), "steps 50 -> 1, shift None -> -0.5"),
    ],
)
def test_changed_options_are_named_with_both_values(old, new, said):
    before, now = Recipe("a", (repr(old),)), Recipe("a", (repr(new),))
    assert now.changes(written(before)) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"made_by": ("PLS(k=3)", "seed=0")}, f"{RECIPE.made_by[0]} -> PLS(k=3)"),
        ({"made_by": (RECIPE.made_by[0], "seed=1")}, "seed=0 -> seed=1"),
        ({"made_by": RECIPE.made_by[:1]}, "another set of parts"),
        ({"weights": {"clip": "bb"}}, "weights of clip changed"),
        ({"inputs": {"trials": "01", "captions": "99"}}, "captions changed"),
        ({"versions": ("brainkit 0.2",)}, "brainkit 0.1 -> brainkit 0.2"),
        ({"weights": {"vae": "bb"}}, "weights of vae read now, weights of clip read no more"),
        ({"inputs": {"trials": "01"}}, "captions read no more"),
        ({"step": "b"}, f"step {RECIPE.step} -> b"),
        ({}, "asked for again"),
    ],
)  # fmt: skip
def test_other_changes_are_said_in_a_few_words(change, said):
    assert replace(RECIPE, **change).changes(written(RECIPE)) == said


def test_another_layout_is_a_change():
    assert RECIPE.changes({**written(RECIPE), "layout": 0}) == "artefact layout changed"


# --- whole files --------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "notes.txt"
    write_text(path, "first")
    with suppress(RuntimeError), written_aside(path) as aside:
        aside.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first"
    write_text(path, "second")
    assert path.read_text() == "second"
    assert [each.name for each in path.parent.iterdir()] == ["notes.txt"]


def test_tensors_and_their_recipe_go_through_a_file(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.randn(3, 4).T, "n": torch.tensor([1, 2], dtype=torch.int32)}
    write_tensors(path, tensors, RECIPE)
    loaded = load_file(path)
    assert set(loaded) == {"x", "n"}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert read_recipe(path) == written(RECIPE)


def test_a_picture_and_its_recipe_go_through_a_file(tmp_path):
    path = tmp_path / "a.png"
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_png(path, picture, RECIPE)
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert read_recipe(path) == written(RECIPE)


def test_a_text_keeps_its_recipe_beside_it(tmp_path):
    path = tmp_path / "metrics.json"
    write_text(sidecar(path), RECIPE.text())
    assert read_recipe(path) == {}
    write_text(path, "{}")
    assert read_recipe(path) == written(RECIPE)
    assert is_current(path, RECIPE)


def test_a_file_is_current_for_its_own_recipe_only(tmp_path):
    path = tmp_path / "a.safetensors"
    assert not is_current(path, RECIPE)
    write_tensors(path, {"x": torch.zeros(1)}, RECIPE)
    assert is_current(path, RECIPE)
    assert not is_current(path, replace(RECIPE, step="other"))


def test_recipes_are_read_without_torch_and_numpy(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.zeros(1)}, RECIPE)
    code = f"""
        import sys; from pathlib import Path; from brainkit.run.artefact import read_recipe
        assert read_recipe(Path({str(path)!r}))["step"] == "features/clip_image"
        print({{"torch", "numpy"}} & set(sys.modules))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize("suffix", ["safetensors", "png", "json"])
def test_no_damage_to_a_file_raises_when_its_recipe_is_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "safetensors":
        write_tensors(path, {"x": torch.zeros(2)}, RECIPE)
    elif suffix == "png":
        write_png(path, np.zeros((4, 4, 3), np.uint8), RECIPE)
    else:
        write_text(path, "{}")
        write_text(sidecar(path), RECIPE.text())
    kept = sidecar(path) if suffix == "json" else path
    whole = kept.read_bytes()
    end = len(whole) - 60 if suffix != "safetensors" else len(whole) - 8
    for length in range(end):
        kept.write_bytes(whole[:length])
        assert not is_current(path, RECIPE), length
    for position in range(len(whole)):
        kept.write_bytes(whole[:position] + bytes([whole[position] ^ 0x15]) + whole[position + 1 :])
        read_recipe(path)


@pytest.mark.parametrize("header", [b"[]", b"3", b'{"__metadata__": null}', b'{"__metadata__": 1}'])
def test_a_header_of_another_shape_is_no_recipe(tmp_path, header):
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_recipe(path) == {}


# --- artefacts ----------------------------------------------------------------------------------


def test_an_artefact_opens_itself_by_name(tmp_path):
    artefact = Artefact(tmp_path / "a.safetensors", RECIPE)
    assert not artefact.current
    assert "x" not in artefact
    tensors = {"x": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([3], dtype=torch.int32)}
    write_tensors(artefact.path, tensors, RECIPE)
    assert artefact.current
    assert "x" in artefact
    assert "y" not in artefact
    assert torch.equal(artefact["x"], tensors["x"])
    assert {name: tensor.tolist() for name, tensor in artefact.tensors().items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }
    assert not Artefact(artefact.path, replace(RECIPE, step="other")).current


def test_a_tensor_is_mapped_and_outlives_the_handle(tmp_path):
    artefact = Artefact(tmp_path / "a.safetensors", RECIPE)
    write_tensors(artefact.path, {"x": torch.zeros(4096, 256)}, RECIPE)
    tensor = artefact["x"]
    assert str(artefact.path) in Path("/proc/self/maps").read_text()
    artefact.path.unlink()
    assert float(tensor.sum()) == 0


@pytest.mark.parametrize("name", ["test", "decoded"])
def test_rows_of_the_test_images_are_found_in_features_and_predictions(tmp_path, name):
    artefact = Artefact(tmp_path / "a.safetensors", RECIPE)
    tensors = {name: torch.ones(2, 3)} | ({"train": torch.zeros(5, 3)} if name == "test" else {})
    write_tensors(artefact.path, tensors, RECIPE)
    assert torch.equal(artefact.test(), torch.ones(2, 3))


def test_an_artefact_says_why_it_is_not_current(tmp_path):
    artefact = Artefact(tmp_path / "a.safetensors", RECIPE)
    assert artefact.why() == "new"
    write_tensors(artefact.path, {"x": torch.zeros(1)}, replace(RECIPE, inputs={"trials": "00"}))
    assert artefact.why() == "trials changed, captions read now"


def test_a_shared_file_is_compared_with_the_older_one_beside_it(tmp_path):
    older = replace(RECIPE, made_by=("Ridge(alpha=1.0, scaling='train')", "seed=0"))
    write_tensors(tmp_path / f"clip-{older.stamp}.safetensors", {"x": torch.zeros(1)}, older)
    write_tensors(tmp_path / "clips-0123456789abcdef.safetensors", {"x": torch.zeros(1)}, RECIPE)
    artefact = Artefact(tmp_path / f"clip-{RECIPE.stamp}.safetensors", RECIPE)
    assert artefact.why() == "alpha 1.0 -> 60000.0"
    assert artefact.why([tmp_path / f"clip-{older.stamp}.safetensors"]) == "new"
    assert Artefact(tmp_path / f"other-{RECIPE.stamp}.safetensors", RECIPE).why() == "new"


# --- growing files ------------------------------------------------------------------------------

ROWS = (TensorRows("train", "F16", (10, 2, 3)), TensorRows("test", "F32", (4, 5)))
RNG = np.random.default_rng(3)
TRAIN = RNG.standard_normal((10, 2, 3)).astype(np.float16)
TEST = RNG.standard_normal((4, 5)).astype(np.float32)


def whole(path):
    growing = GrowingTensors(path, ROWS, RECIPE)
    growing.write("train", 0, TRAIN)
    growing.write("test", 0, TEST)
    growing.finish()
    return path.read_bytes()


def test_a_grown_file_is_read_by_safetensors(tmp_path):
    path = tmp_path / "deep" / "f.safetensors"
    whole(path)
    loaded = load_file(path)
    assert np.array_equal(loaded["train"].numpy(), TRAIN)
    assert np.array_equal(loaded["test"].numpy(), TEST)
    with safe_open(path, framework="pt") as opened:
        assert json.loads(opened.metadata()["brainkit"]) == written(RECIPE)
    assert is_current(path, RECIPE)


def test_nothing_has_the_final_name_before_the_end(tmp_path):
    path = tmp_path / "f.safetensors"
    growing = GrowingTensors(path, ROWS, RECIPE)
    growing.write("train", 0, TRAIN[:4])
    assert not path.exists()
    growing.write("train", 4, TRAIN[4:])
    growing.write("test", 0, TEST)
    growing.finish()
    assert [each.name for each in tmp_path.iterdir()] == ["f.safetensors"]


@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 9)), stops=st.lists(st.booleans(), min_size=10, max_size=10))
def test_any_pieces_and_interruptions_give_the_same_bytes(tmp_path_factory, cuts, stops):
    folder = tmp_path_factory.mktemp("f")
    expected = whole(folder / "whole.safetensors")
    path = folder / "pieces.safetensors"
    growing = GrowingTensors(path, ROWS, RECIPE)
    edges = [0, *sorted(cuts), 10]
    for start, end, stop in zip(edges, edges[1:], stops, strict=False):
        growing.write("train", start, TRAIN[start:end])
        if stop:
            growing = GrowingTensors(path, ROWS, RECIPE)
            assert growing.done == {"train": end}
    growing.write("test", 0, TEST)
    growing.finish()
    assert path.read_bytes() == expected


def test_a_killed_process_is_continued_to_the_same_bytes(tmp_path):
    expected = whole(tmp_path / "whole.safetensors")
    path = tmp_path / "killed.safetensors"
    np.save(tmp_path / "train.npy", TRAIN)
    code = f"""
        import numpy as np, os, signal
        from pathlib import Path
        from brainkit.run.artefact import Recipe
        from brainkit.run.growing import GrowingTensors, TensorRows
        train = np.load({str(tmp_path / "train.npy")!r})
        growing = GrowingTensors(Path({str(path)!r}), {ROWS!r}, {RECIPE!r})
        growing.write("train", 0, train[:3])
        growing.write("train", 3, train[3:6])
        with open(str(growing.path) + ".part", "r+b") as file:
            file.seek(-30, 2)
            file.write(b"torn")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)])
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    growing = GrowingTensors(path, ROWS, RECIPE)
    assert growing.done == {"train": 6}
    growing.write("train", 6, TRAIN[6:])
    growing.write("test", 0, TEST)
    growing.finish()
    assert path.read_bytes() == expected


def test_another_recipe_begins_anew(tmp_path):
    path = tmp_path / "f.safetensors"
    GrowingTensors(path, ROWS, RECIPE).write("train", 0, TRAIN)
    assert GrowingTensors(path, ROWS, replace(RECIPE, step="other")).done == {}
    assert GrowingTensors(path, ROWS, RECIPE).done == {}


def test_a_lost_note_or_part_begins_anew(tmp_path):
    path = tmp_path / "f.safetensors"
    GrowingTensors(path, ROWS, RECIPE).write("train", 0, TRAIN)
    (tmp_path / "f.safetensors.rows").write_text('{"train": 1')
    assert GrowingTensors(path, ROWS, RECIPE).done == {}
    GrowingTensors(path, ROWS, RECIPE).write("train", 0, TRAIN)
    (tmp_path / "f.safetensors.part").unlink()
    assert GrowingTensors(path, ROWS, RECIPE).done == {}


ELEVEN = TRAIN[[*range(10), 0]]


@pytest.mark.parametrize(
    ("start", "rows"), [(0, TRAIN[:, :1]), (3, TRAIN[3:]), (-1, TRAIN[:1]), (0, ELEVEN)]
)
def test_rows_that_do_not_fit_are_refused(tmp_path, start, rows):
    growing = GrowingTensors(tmp_path / "f.safetensors", ROWS, RECIPE)
    with pytest.raises(DataError, match="train: rows"):
        growing.write("train", start, rows)
    assert growing.done == {}


def test_empty_tensors_can_be_grown(tmp_path):
    path = tmp_path / "f.safetensors"
    growing = GrowingTensors(path, (TensorRows("train", "F16", (0, 3)),), RECIPE)
    growing.write("train", 0, np.zeros((0, 3)))
    growing.finish()
    assert load_file(path)["train"].shape == (0, 3)


def test_a_header_that_claims_more_than_the_file_is_none(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes((10**12).to_bytes(8, "little") + b"{}")
    assert read_header(path) == {}


# --- damaged growing files ----------------------------------------------------------------------


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def edited(text: str):
    return lambda path: path.with_suffix(".safetensors.rows").write_text(text)


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(part_of(path), 2),
        lambda path: flip(part_of(path), -200),
        lambda path: os.truncate(part_of(path), 100),
        lambda path: os.truncate(part_of(path), 4),
        edited("[]"),
        edited("{"),
        edited("5"),
        edited('{"train": 6}'),
        edited('{"train": [7, "0"]}'),
        edited('{"train": [-1, "0"]}'),
        edited('{"train": [1000, "0"]}'),
        edited('{"train": {"rows": 6}}'),
        edited("[" * 100_000),
    ],
)
def test_a_damaged_growing_file_or_note_is_begun_anew(tmp_path, damage):
    expected = whole(tmp_path / "whole.safetensors")
    path = tmp_path / "f.safetensors"
    growing = GrowingTensors(path, ROWS, RECIPE)
    growing.write("train", 0, TRAIN[:6])
    assert GrowingTensors(path, ROWS, RECIPE).done == {"train": 6}
    damage(path)
    growing = GrowingTensors(path, ROWS, RECIPE)
    assert growing.done == {}
    growing.write("train", 0, TRAIN)
    growing.write("test", 0, TEST)
    growing.finish()
    assert path.read_bytes() == expected


def test_rows_may_be_written_again(tmp_path):
    expected = whole(tmp_path / "whole.safetensors")
    path = tmp_path / "f.safetensors"
    growing = GrowingTensors(path, ROWS, RECIPE)
    growing.write("train", 0, TRAIN[:6] + 1)
    growing.write("train", 2, TRAIN[2:8])
    growing.write("train", 0, TRAIN[:8])
    growing = GrowingTensors(path, ROWS, RECIPE)
    assert growing.done == {"train": 8}
    growing.write("train", 8, TRAIN[8:])
    growing.write("test", 0, TEST)
    growing.finish()
    assert path.read_bytes() == expected


def test_rows_are_on_disk_before_their_note(tmp_path, monkeypatch):
    """A note after a power failure may not speak of rows that were never written."""
    events = []
    fsync, replace_ = os.fsync, os.replace

    def synced(descriptor):
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split(".")[2])
        fsync(descriptor)

    def replaced(source, target):
        events.append("-> " + Path(target).suffix)
        replace_(source, target)

    growing = GrowingTensors(tmp_path / "f.safetensors", ROWS, RECIPE)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    growing.write("train", 0, TRAIN)
    growing.finish()
    assert events == ["part", "rows", "-> .rows", "part", "-> .safetensors"]


def test_notes_are_sorted_in_the_header_so_that_bytes_are_equal(tmp_path):
    notes = {"warnings": 'a "quoted" line\nand \u00e4 \u2028', "facts": "{}", "a": "b", "z": ""}
    bytes_of = set()
    for number in range(12):
        path = tmp_path / f"{number}.safetensors"
        write_tensors(path, {"x": torch.arange(3)}, RECIPE, notes)
        bytes_of.add(path.read_bytes())
        assert {key: read_note(path, key) for key in notes} == notes
        assert load_file(path)["x"].tolist() == [0, 1, 2]
    assert len(bytes_of) == 1


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match=r"a.json is a folder, but a file is to be written there"):
        write_text(tmp_path / "a.json", "{}")


def test_a_dangling_link_is_replaced(tmp_path):
    (tmp_path / "a.json").symlink_to(tmp_path / "nowhere" / "b.json")
    write_text(tmp_path / "a.json", "{}")
    assert not (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "a.json").read_text() == "{}"


def fail_while_writing(path: Path) -> None:
    with written_aside(path) as aside:
        aside.write_text("half")
        raise ZeroDivisionError


def test_a_failed_writing_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
