"""Headers of safetensors files: whole, odd and malformed."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from brainkit.checkpoints.safetensors import Entry, check_header, write_safetensors
from brainkit.errors import CheckpointError
from brainkit.weights.open import open_weights

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def forged(header: object, numbers: bytes = bytes(8), length: int | None = None) -> bytes:
    """Return the bytes of a file with any header, and any word of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + numbers


A_TWICE = b'{"a":%s,"a":%s}' % ((json.dumps(F32).encode(),) * 2)

FIELD_TWICE = b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'

TWO = {"a": F32, "b": tensor(offsets=[8, 16])}

HUGE = 2**64 - 2

# What each file has wrong, and words of the sentence that tells so. Cases with a * are those of
# the format's own tests (safetensors/src/tensor.rs at 000a16f).
MALFORMED: dict[str, tuple[bytes, str]] = {
    "* empty file": (b"", "it is empty"),
    "shorter than the length": (b"\x08\0\0", "it has 3 bytes, expected at least 8"),
    "* length alone": (b"<" + bytes(7), "said to have 60 bytes, but only 0 follow"),
    "length beyond the file": (forged({"a": F32}, length=90), "90 bytes, but only"),
    "* length beyond 100 MB": (
        b"<\0\0\0\0\xff\xff\xff" + json.dumps({"a": F32}).encode(),
        "said to have 18446742974197923900 bytes, at most 25000000 are allowed",
    ),
    "length of all ones": (b"\xff" * 8 + b"{}", "18446744073709551615 bytes, at most"),
    "length of 25 MB and one": (forged(b"{}", length=25_000_001), "at most 25000000"),
    "header without bytes": (forged(b""), "0 bytes, expected at least the 2"),
    "header of one byte": (forged(b"{"), "1 bytes, expected at least the 2"),
    "* not UTF-8": (forged(b'{"\xff":1}'), "byte 2 of its header is not UTF-8"),
    "* not JSON": (forged(b"{{"), "not JSON: .* at character 1"),
    "header cut off": (forged(json.dumps({"a": F32}).encode()[:-1]), "not JSON: "),
    "no brace first": (forged(b"[1]"), "begins with b'\\[', expected an opening brace"),
    "* space before the brace": (forged(b' {"a":1}'), "begins with b' ', expected"),
    "byte order mark": (forged(b"\xef\xbb\xbf{}"), "expected an opening brace"),
    "zeros for padding": (forged(b"{}\0\0", b""), "not JSON: Extra data at character 2"),
    "two tables": (forged(b"{}{}", b""), "not JSON: Extra data"),
    "deep nesting": (forged(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "too deeply"),
    "number of 10,000 digits": (forged(b'{"a":' + b"1" * 10_000 + b"}"), "thousands of digits"),
    "not a number": (forged({"a": tensor(shape=[float("nan")])}), "the word NaN"),
    "tensor twice": (forged(A_TWICE), "has 'a' twice"),
    "field twice": (forged(FIELD_TWICE), "has 'dtype' twice"),
    "tensor without a table": (forged({"a": [1]}), "tensor 'a' is \\[1\\], expected a table"),
    "no dtype": (forged({"a": {"shape": [2], "data_offsets": [0, 8]}}), "'a' lacks its dtype"),
    "no shape": (forged({"a": {"dtype": "F32", "data_offsets": [0, 8]}}), "lacks its shape"),
    "no offsets": (forged({"a": {"dtype": "F32", "shape": [2]}}), "lacks its data_offsets"),
    "unknown dtype": (forged({"a": tensor("F33")}), "the dtype 'F33', expected one of F64, F32"),
    "dtype of no text": (forged({"a": tensor(32)}), "the dtype 32, expected one of"),
    "negative shape": (forged({"a": tensor(shape=[-2])}), "the shape \\[-2\\], expected whole"),
    "fraction of a shape": (forged({"a": tensor(shape=[2.0])}), "the shape \\[2.0\\], expected"),
    "true for a shape": (forged({"a": tensor(shape=[True])}), "the shape \\[True\\], expected"),
    "text for a shape": (forged({"a": tensor(shape="2")}), "the shape '2', expected"),
    "shape beyond 64 bits": (forged({"a": tensor(shape=[2**64])}), "from 0 to 2\\^63 - 1"),
    "negative offset": (forged({"a": tensor(offsets=[-8, 0])}), "the offsets \\[-8, 0\\]"),
    "one offset": (forged({"a": tensor(offsets=[8])}), "the offsets \\[8\\], expected two"),
    "three offsets": (forged({"a": tensor(offsets=[0, 8, 8])}), "expected two numbers"),
    "end before begin": (forged({"a": tensor(offsets=[8, 0])}), "ends at 0, before .* at 8"),
    "* shape product overflows": (forged({"a": tensor("I32", [2, HUGE], [0, 16])}), "'a' has the"),
    "* shape times dtype overflows": (
        forged({"a": tensor("F64", [2**62, 4], [0, 8])}),
        "more than 2\\^63 - 1 numbers",
    ),
    "product that wraps to the size": (
        forged({"a": tensor("F32", [4194305, 4194305, 211106198978564], [0, 16])}, bytes(16)),
        "more than 2\\^63 - 1 numbers",
    ),
    "* shape and offsets disagree": (
        forged({"test": tensor("I32", [2, 2], [0, 4])}, b""),
        "'test' has 4 bytes by its offsets, expected 16 of I32 and shape \\[2, 2\\]",
    ),
    "numbers within a byte": (forged({"a": tensor("F4", [3], [0, 2])}), "end within a byte"),
    "* overlap": (forged({"a": F32, "b": F32}), "'b' begins at 0, within tensor 'a', which ends"),
    "overlap in part": (
        forged({"a": F32, "b": tensor(offsets=[4, 12])}, bytes(12)),
        "'b' begins at 4, within tensor 'a', which ends at 8",
    ),
    "hole": (
        forged({"a": F32, "b": tensor(offsets=[12, 20])}, bytes(20)),
        "'b' begins at 12, but tensor 'a' ends at 8: a hole",
    ),
    "hole at the start": (
        forged({"a": tensor(offsets=[8, 16])}, bytes(16)),
        "'a' begins at 8, but the first has to be at 0: a hole",
    ),
    "empty tensor far away": (
        forged({"a": F32, "b": tensor(shape=[0], offsets=[99, 99])}),
        "'b' begins at 99, but tensor 'a' ends at 8",
    ),
    "empty tensor within another": (
        forged({"a": F32, "b": tensor(shape=[0], offsets=[4, 4])}),
        "'b' begins at 4, within tensor 'a'",
    ),
    "* bytes behind the last": (
        forged({"a": F32}, bytes(8) + b"extra_bogus_data_for_polyglot_file"),
        "34 bytes follow the last tensor, expected none",
    ),
    "bytes without a tensor": (forged({}), "8 bytes follow the last tensor"),
    "* numbers missing": (forged({"a": F32}, bytes(6)), "'a' ends at 8, but 6 bytes follow"),
    "second tensor missing": (forged(TWO, bytes(8)), "'b' ends at 16, but 8 bytes follow"),
    "terabytes": (
        forged({"a": tensor(shape=[2**40], offsets=[0, 2**42])}),
        "ends at 4398046511104",
    ),
    "metadata of numbers": (
        forged({"__metadata__": {"n": 1}, "a": F32}),
        "'n' in __metadata__ is 1",
    ),
    "metadata without a table": (forged({"__metadata__": "x", "a": F32}), "__metadata__ is 'x'"),
    "metadata nested": (forged({"__metadata__": {"x": {}}, "a": F32}), "expected a text"),
}

# What the library reads although the format's text forbids it.
STRICTER = {"tensor twice", "* space before the brace"}


def refused(path: Path) -> str:
    """Check in vain; give the sentence after checking that it is one, and printable."""
    with pytest.raises(CheckpointError) as caught:
        check_header(path)
    said = str(caught.value)
    assert said.isprintable()
    assert said.startswith(f"{path} is not a whole safetensors file (")
    assert said.endswith("); download or copy it again")
    assert len(said) < 500
    return said


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_headers_are_told_what_is_wrong(case: str, tmp_path: Path) -> None:
    content, words = MALFORMED[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert re.search(words, refused(path)), refused(path)
    with pytest.raises(CheckpointError, match=words), open_weights(path):
        pass


@pytest.mark.parametrize("case", sorted(MALFORMED.keys() - STRICTER))
def test_the_library_refuses_the_same_files(case: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(MALFORMED[case][0])
    with pytest.raises((SafetensorError, OSError)), safe_open(path, framework="pt"):
        pass


def test_no_malformed_header_makes_room_by_its_word(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(MALFORMED.values()):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        tracemalloc.start()
        refused(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 * len(content) + 200_000, list(MALFORMED)[number]


def test_malformed_headers_are_refused_in_a_process_with_little_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(len(MALFORMED))]
    for path, (content, _) in zip(paths, MALFORMED.values(), strict=True):
        path.write_bytes(content)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from brainkit.errors import CheckpointError\n"
        "from brainkit.checkpoints.safetensors import check_header\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    try: check_header(path)\n"
        "    except CheckpointError: print('refused')\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", script, *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.count("refused") == len(MALFORMED)


VALID: dict[str, tuple[bytes, dict[str, Entry]]] = {
    "no tensors": (forged({}, b""), {}),
    "metadata alone": (forged({"__metadata__": {"x": "y"}}, b""), {}),
    "metadata of nothing": (forged({"__metadata__": None, "a": F32}), {"a": Entry("F32", (2,))}),
    "padding": (forged(b'{"a":%s}   \t\r\n' % json.dumps(F32).encode()), {"a": Entry("F32", (2,))}),
    "a single number": (
        forged({"a": tensor("I32", [], [0, 4])}, bytes(4)),
        {"a": Entry("I32", ())},
    ),
    "an empty tensor": (
        forged({"a": tensor("I32", [2, 0], [0, 0])}, b""),
        {"a": Entry("I32", (2, 0))},
    ),
    "empty ones between": (
        forged({**TWO, "x": tensor(shape=[0], offsets=[8, 8])}, bytes(16)),
        {"a": Entry("F32", (2,)), "b": Entry("F32", (2,)), "x": Entry("F32", (0,))},
    ),
    "names in another order": (
        forged({"b": TWO["b"], "a": F32}, bytes(16)),
        {"a": Entry("F32", (2,)), "b": Entry("F32", (2,))},
    ),
    "more fields": (forged({"a": {**F32, "note": [1]}}), {"a": Entry("F32", (2,))}),
    "names of any letters": (forged({"ä/\n\u4e00": F32}), {"ä/\n\u4e00": Entry("F32", (2,))}),
    "half a byte a number": (forged({"a": tensor("F4", [16], [0, 8])}), {"a": Entry("F4", (16,))}),
}


@pytest.mark.parametrize("case", VALID)
def test_odd_but_valid_files_are_read(case: str, tmp_path: Path) -> None:
    content, expected = VALID[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert check_header(path) == expected
    with safe_open(path, framework="pt") as theirs:
        assert set(theirs.keys()) == expected.keys()
    with open_weights(path) as opened:
        assert all(set(opened.read(name)) <= {0} for name in expected)


DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64),
)


def several() -> dict[str, Tensor]:
    """Return tensors of every dtype and of odd shapes."""
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (3, 5, 8), dtype=torch.uint8)
    found = {str(dtype): bits.view(torch.uint8).to(dtype) for dtype in DTYPES}
    found |= {"single": torch.tensor(3.5), "none": torch.zeros(0, 3), "row": torch.randn(1, 7)}
    return found


def test_every_dtype_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.safetensors", several()
    save_file(tensors, path, {"x": "y"})
    with safe_open(path, framework="pt") as theirs, open_weights(path) as ours:
        assert ours.entries == check_header(path)
        for name in theirs.keys():  # noqa: SIM118
            piece = theirs.get_slice(name)
            assert ours.entries[name] == (piece.get_dtype(), tuple(piece.get_shape()))
            flat = tensors[name].reshape(-1)
            assert ours.read(name) == flat.view(torch.uint8).numpy().tobytes()


def test_mutated_headers_are_never_read_as_something_else(tmp_path: Path) -> None:
    """Whatever becomes of a header, it is refused, or read as the library reads it."""
    whole = forged(
        {"__metadata__": {"x": "y"}, **TWO, "c": tensor("F16", [2, 1], [16, 20])}, bytes(20)
    )
    path, draw, read = tmp_path / "a.safetensors", random.Random(0), 0
    letters = b'0123456789-.eE"[]{},: \0\xff'
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 2)):
            place = draw.randrange(8, len(content) - 20)
            content[place] = draw.choice(letters)
        path.write_bytes(content)
        try:
            ours: dict[str, Entry] | None = check_header(path)
        except CheckpointError:
            ours = None
        if ours is None:
            continue
        read += 1
        with safe_open(path, framework="pt") as theirs:
            shapes = {n: tuple(theirs.get_slice(n).get_shape()) for n in theirs.keys()}  # noqa: SIM118
        assert {name: entry.shape for name, entry in ours.items()} == shapes
    assert read > 20


def test_written_files_hold_the_bytes_that_the_library_writes(tmp_path: Path) -> None:
    tensors = {n: t for n, t in several().items() if t.dtype in DTYPES[:4]}
    save_file(tensors, tmp_path / "theirs.safetensors")
    told: list[int] = []
    with open_weights(tmp_path / "theirs.safetensors") as opened:
        write_safetensors(
            tmp_path / "ours.safetensors", opened.entries, opened.read, {"a": "b"}, told.append
        )
    ours, theirs = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("ours", "theirs"))
    start = 8 + int.from_bytes(ours[:8], "little")
    assert start % 8 == 0
    assert ours[start:] == theirs[8 + int.from_bytes(theirs[:8], "little") :]
    assert sum(told) == len(ours) - start
    loaded = load_file(tmp_path / "ours.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    with safe_open(tmp_path / "ours.safetensors", framework="pt") as opened:
        assert opened.metadata() == {"format": "pt", "a": "b"}
