"""Released files into the store: found, checked and written, never half."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from brainkit.checkpoints import CheckpointStore
from brainkit.checkpoints.record import FileFacts, Record, differences
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.weights import convert as converting
from brainkit.weights.convert import ReleasedFiles, convert

TOYS = Path(__file__).parent / "toys"
TOY = Checkpoint("toy-net")
NET, OTHER = "toy_released:NET", "toy_released:OTHER_NET"


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOYS))


def numbers(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The tensors of a whole published file; its head is the network's `out`, transposed."""
    drawn = torch.Generator().manual_seed(seed)
    shapes = {"net.w": (6, 4), "net.b": (6,), "net.qkv": (6, 4), "net.head": (2, 3),
              "other.scale": (5,), "other.square": (4, 4, 1, 1)}  # fmt: skip
    made = {n: torch.randn(shape, generator=drawn).to(dtype) for n, shape in shapes.items()}
    return {**made, "step": torch.tensor(7)}


def expected(file: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    rows = dict(zip("qkv", file["net.qkv"].chunk(3), strict=True))
    return {"w": file["net.w"], "b": file["net.b"], "out": file["net.head"].T, **rows}


def same(folder: Path, wanted: dict[str, torch.Tensor]) -> bool:
    found = load_file(folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    return all(
        torch.equal(found[n], each) and found[n].dtype == each.dtype for n, each in wanted.items()
    )


def at(path: Path) -> ReleasedFiles:
    return ReleasedFiles((path,))


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float32, "net.pth"),
        (torch.float16, "anything.ckpt"),
        (torch.bfloat16, "net.safetensors"),
        (torch.float64, "net.pth"),
    ],
)
def test_tensors_come_out_renamed_cut_and_turned(tmp_path, dtype, name) -> None:
    file = numbers(dtype=dtype)
    if name.endswith(".safetensors"):
        save_file(file, tmp_path / name)
    else:
        torch.save({"state_dict": file, "epoch": 3}, tmp_path / name)
    (done,) = convert([NET], at(tmp_path / name), tmp_path / "store")
    assert same(tmp_path / "store/toy-net", expected(file))
    assert (done.tensors, done.layout, done.kept) == (6, "official", False)
    config = json.loads((tmp_path / "store/toy-net/config.json").read_text())
    assert config == {"width": 6, "kind": "toy"}


def test_one_file_serves_two_networks_and_a_convolution_serves_a_matrix(tmp_path) -> None:
    file = numbers()
    torch.save(file, tmp_path / "net.pth")
    done = convert([NET, OTHER], at(tmp_path / "net.pth"), tmp_path / "store")
    assert [each.checkpoint for each in done] == ["toy-net", "toy-other"]
    square = file["other.square"].reshape(4, 4)
    assert same(tmp_path / "store/toy-other", {"scale": file["other.scale"], "square": square})


def test_a_folder_with_two_files_and_what_lies_beside_is_read(tmp_path) -> None:
    wanted = expected(numbers())
    for folder in ("one", "two", "words"):
        (tmp_path / "given" / folder).mkdir(parents=True)
    first = {n: wanted[n].contiguous() for n in ("w", "b", "q", "k", "v")}
    save_file(first, tmp_path / "given/one/model.safetensors")
    torch.save({"head": wanted["out"].contiguous()}, tmp_path / "given/two/model.bin")
    (tmp_path / "given/words/words.json").write_text('["a"]')
    (done,) = convert([NET, OTHER], at(tmp_path / "given"), tmp_path / "store")
    assert same(tmp_path / "store/toy-net", wanted)
    assert (tmp_path / "store/toy-net/words.json").read_text() == '["a"]'
    assert (done.layout, done.lacks) == ("two files", ())


def test_one_of_two_files_is_never_taken_for_the_other(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    save_file({"w": torch.ones(6, 4)}, tmp_path / "one/model.safetensors")
    with pytest.raises(CheckpointError, match="has nothing of toy-net"):
        convert([NET], at(tmp_path / "one"), tmp_path / "store")


def test_files_beside_the_weights_are_asked_for_where_they_are_missing(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    (done,) = convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    assert done.lacks == ("words.json",)
    (tmp_path / "more/words").mkdir(parents=True)
    (tmp_path / "more/words/words.json").write_text("[]")
    source = ReleasedFiles((tmp_path / "net.pth",), beside={"words.json": (tmp_path / "more",)})
    (done,) = convert([NET], source, tmp_path / "other-store")
    assert done.lacks == ()
    assert (tmp_path / "other-store/toy-net/words.json").read_text() == "[]"


def test_every_difference_of_every_network_is_in_one_message(tmp_path) -> None:
    file = numbers()
    file["net.new"] = torch.zeros(1)
    file["net.b"] = torch.zeros(7)
    file["other.scale"] = torch.zeros(5, dtype=torch.int64)
    del file["net.w"], file["other.square"]
    torch.save(file, tmp_path / "net.pth")
    with pytest.raises(CheckpointError) as caught:
        convert([NET, OTHER], at(tmp_path / "net.pth"), tmp_path / "store")
    said = str(caught.value)
    assert "toy-net has 1 missing (w), 1 extra (net.new), 1 misshapen (b 7, expected 6)" in said
    assert "toy-other has 1 missing (square), 1 not floating point (scale I64)" in said
    assert not list((tmp_path / "store").glob("toy*"))


def test_another_configuration_is_given_for_networks_of_other_sizes(tmp_path) -> None:
    file = numbers() | {"net.w": torch.ones(9, 4), "net.b": torch.ones(9)}
    torch.save(file, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"b 9, expected 6.*w 9x4, expected 6x4"):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    convert([NET], at(tmp_path / "net.pth"), tmp_path / "store", config={"width": 9})
    assert json.loads((tmp_path / "store/toy-net/config.json").read_text()) == {"width": 9}


def test_a_configuration_beside_the_weights_has_to_agree(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    (tmp_path / "config.json").write_text('{"kind": "other", "width": 99}')
    with pytest.raises(CheckpointError, match="kind is 'other', expected 'toy'"):
        convert([NET], at(tmp_path), tmp_path / "store")


def test_source_json_tells_whence_and_what(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    store = tmp_path / "store"
    convert([NET], at(tmp_path / "net.pth"), store)
    record = Record.read(store / "toy-net")
    assert (record.origin, record.licence, record.layout) == ("by hand", "MIT", "official")
    assert record.sources == {"net.pth": FileFacts.of(tmp_path / "net.pth")}
    assert set(record.files) == {"model.safetensors", "config.json"}
    assert not differences(store / "toy-net", record, whole=True)
    weights = store / "toy-net/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    assert not differences(store / "toy-net", record, whole=False)
    assert differences(store / "toy-net", record, whole=True) == [
        "model.safetensors has another content than was written"
    ]


def test_the_same_weights_are_kept_damaged_ones_mended_and_others_never_replaced(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    store = tmp_path / "store"
    convert([NET], at(tmp_path / "net.pth"), store)
    weights = store / "toy-net/model.safetensors"
    before = weights.stat().st_mtime_ns
    assert convert([NET], at(tmp_path / "net.pth"), store)[0].kept
    assert weights.stat().st_mtime_ns == before
    weights.write_bytes(weights.read_bytes()[:-40])
    assert not convert([NET], at(tmp_path / "net.pth"), store)[0].kept
    assert same(store / "toy-net", expected(numbers()))
    torch.save(numbers(seed=1), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="holds weights of other files already, from by hand"):
        convert([NET], at(tmp_path / "net.pth"), store)
    assert same(store / "toy-net", expected(numbers()))


def test_fingerprints_are_of_the_content_and_recorded_ones_are_not_computed(
    tmp_path, monkeypatch
) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    store = CheckpointStore(tmp_path / "store")
    convert([NET], at(tmp_path / "net.pth"), store.root)
    shutil.copytree(store.root / "toy-net", tmp_path / "by-hand/toy-net")
    (tmp_path / "by-hand/toy-net/source.json").unlink()
    read = CheckpointStore(tmp_path / "by-hand").fingerprint(TOY)
    with monkeypatch.context() as patched:
        patched.setattr(FileFacts, "of", lambda path: pytest.fail(f"{path} was read"))
        assert store.fingerprint(TOY) == read
    weights = store.root / "toy-net/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    assert store.fingerprint(TOY) != read


def test_weights_placed_by_hand_are_never_replaced(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    (tmp_path / "store/toy-net").mkdir(parents=True)
    (tmp_path / "store/toy-net/model.safetensors").write_bytes(b"mine")
    with pytest.raises(CheckpointError, match="that were placed by hand"):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    assert (tmp_path / "store/toy-net/model.safetensors").read_bytes() == b"mine"


def test_another_layout_of_the_same_files_is_not_taken_for_what_is_there(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    path = tmp_path / "store/toy-net/source.json"
    path.write_text(path.read_text().replace('"official"', '"other"'))
    with pytest.raises(CheckpointError, match="holds the other of these files already"):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")


def test_a_file_in_place_of_a_checkpoint_s_folder_stays(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/toy-other").write_text("mine")
    with pytest.raises(CheckpointError, match="toy-other is a file"):
        convert([NET, OTHER], at(tmp_path / "net.pth"), tmp_path / "store")
    assert (tmp_path / "store/toy-other").read_text() == "mine"
    assert not (tmp_path / "store/toy-net").exists()


def test_a_release_that_reads_files_itself_is_given_those_of_any_name(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "words.py").write_text(
        "from brainkit.weights import Naming, Piece, Release\n"
        "from brainkit.weights.conversion import Fit, fitted\n"
        "from brainkit.weights.open import Entry, WeightFile\n"
        "LAYOUT = Naming('text', (), lambda config, names: {})\n"
        "def read(source, config, stack):\n"
        "    words = source.read_text().split()\n"
        "    entries = {word: Entry('F32', (1,)) for word in words}\n"
        "    file = WeightFile(source, entries, lambda name: bytes(4))\n"
        "    fit = Fit(LAYOUT, (file,), {name: Piece(name) for name in 'ab'})\n"
        "    return fitted('words', {}, fit, {'a': (1,), 'b': (1,)})\n"
        "RELEASE = Release('words', (), read=read)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "file.txt").write_text("a b")
    # NET, whose file may have any name, is no text file.
    (done,) = convert(["words:RELEASE", NET], at(tmp_path / "file.txt"), tmp_path / "store")
    assert (done.checkpoint, done.layout) == ("words", "text")
    assert same(tmp_path / "store/words", {"a": torch.zeros(1), "b": torch.zeros(1)})
    (tmp_path / "file.txt").write_text("a c")
    with pytest.raises(CheckpointError, match=r"words has 1 missing \(b\), 1 extra \(c\)"):
        convert(["words:RELEASE"], at(tmp_path / "file.txt"), tmp_path / "store")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: None, "there is no file or folder"),
        (lambda path: path.write_bytes(b"nonsense"), "is not a whole"),
        (lambda path: path.mkdir(), "has nothing of toy-net"),
        (lambda path: torch.save({"a": torch.ones(2)}, path), "has 1 tensors, but none of toy-net"),
        (lambda path: torch.save([1, 2], path), "list"),
    ],
)
def test_nonsense_gets_one_clear_sentence(tmp_path, made, said) -> None:
    made(tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=said) as caught:
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "store").glob("toy*"))


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"has 1\.0 kB free"):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")


def test_a_store_that_cannot_be_written_is_told(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    (tmp_path / "store").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")


def test_nothing_half_written_survives_a_kill(tmp_path) -> None:
    # It is killed when both are whole beside their places, and none is moved.
    torch.save(numbers(), tmp_path / "net.pth")
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from brainkit.weights import convert as c\n"
        "c._move = lambda aside, folder: (print('moving', flush=True), time.sleep(60))\n"
        "c.convert([*sys.argv[4:]], c.ReleasedFiles((Path(sys.argv[2]),)), Path(sys.argv[3]))\n"
    )
    store = tmp_path / "store"
    command = [sys.executable, "-c", script, str(TOYS), str(tmp_path / "net.pth"), str(store)]
    process = subprocess.Popen(
        [*command, NET, OTHER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "moving\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (store / "toy-net").exists()
    assert (store / "toy-net.part").is_dir()
    done = convert([NET, OTHER], at(tmp_path / "net.pth"), store)
    assert [each.kept for each in done] == [False, False]
    assert not list(store.glob("*.part"))
    assert same(store / "toy-net", expected(numbers()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_end_in_mid_conversion_leaves_nothing(tmp_path, error) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    told = []

    def progress(checkpoint: str, done: int, size: int) -> None:
        told.append((checkpoint, done, size))
        if len(told) == 8:  # two tensors into the second network
            raise error

    kind = CheckpointError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(kind):
        convert([NET, OTHER], at(tmp_path / "net.pth"), tmp_path / "store", progress=progress)
    assert [each[0] for each in told] == ["toy-net"] * 6 + ["toy-other"] * 2
    assert not list((tmp_path / "store").glob("toy*"))
    convert([NET, OTHER], at(tmp_path / "net.pth"), tmp_path / "store")
    assert same(tmp_path / "store/toy-net", expected(numbers()))


def test_progress_ends_with_all_bytes(tmp_path) -> None:
    torch.save(numbers(), tmp_path / "net.pth")
    told = []
    (done,) = convert(
        [NET], at(tmp_path / "net.pth"), tmp_path / "store",
        progress=lambda *values: told.append(values),
    )  # fmt: skip
    assert told[-1] == ("toy-net", done.size, done.size)
    assert [each[1] for each in told] == sorted(each[1] for each in told)


def test_a_file_that_cannot_be_read_is_told(tmp_path, monkeypatch) -> None:
    torch.save(numbers(), tmp_path / "net.pth")

    def fails(path: Path) -> FileFacts:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(FileFacts, "of", fails)
    with pytest.raises(CheckpointError, match=r"net\.pth cannot be read \(Input/output error\)"):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    assert not list((tmp_path / "store").glob("toy*"))


def test_many_differences_are_counted_and_five_are_named(tmp_path) -> None:
    file = numbers() | {f"net.new{n}": torch.zeros(1) for n in range(2000)}
    torch.save(file, tmp_path / "net.pth")
    with pytest.raises(CheckpointError) as caught:
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
    said = str(caught.value)
    names = ", ".join(sorted(f"net.new{n}" for n in range(2000))[:5])
    assert f"toy-net has 2000 extra ({names} and 1995 more);" in said
    assert len(said) < 1000


def test_two_conversions_into_one_store_do_not_mix(tmp_path) -> None:
    from filelock import FileLock

    torch.save(numbers(), tmp_path / "net.pth")
    (tmp_path / "store").mkdir()
    with (
        FileLock(tmp_path / "store/.lock"),
        pytest.raises(CheckpointError, match="is in use by another process"),
    ):
        convert([NET], at(tmp_path / "net.pth"), tmp_path / "store")
