"""Damaged, deep, endless and changed pickles are refused in a sentence, and make no room."""

from __future__ import annotations

import pickletools
import random
import struct
import tracemalloc
from pathlib import Path
from pickle import dumps

import pytest
import torch
from forged_pickles import (
    archived,
    call,
    many,
    name,
    number,
    old,
    pickled,
    refused,
    saved,
    storage,
    table,
    tensor,
    text,
)
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import binary, lists, one_of, sampled_from

from brainkit.errors import CheckpointError
from brainkit.weights.open import READABLE, open_weights

ONE_FOLDER = [HealthCheck.function_scoped_fixture]
"""All examples of a test may share its folder."""


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)


GOOD = pickled(table(a=tensor()))

TOUCH = text("touch pwned")


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5, 6, 255])
def test_pickles_of_other_protocols_are_refused(protocol: int) -> None:
    said = refused(archived(pickled(table(a=tensor()), protocol)))
    assert f"a pickle of protocol {protocol or '0 or 1'}, expected 2" in said
    if protocol <= 5:
        assert "which no file with weights has" in refused(archived(dumps({"a": [1.5]}, protocol)))


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "no end": pickled(b"N")[:-1],
    "no value": b"\x80\x02.",
    "unknown opcode": pickled(b"\xff"),
    "missing value": pickled(b"a"),
    "missing mark": pickled(b"t"),
    "missing parts": pickled(b"\x87"),
    "odd entries": pickled(b"}(NNNu"),
    "unknown recall": pickled(b"h\x07"),
    "recall far away": pickled(b"j\xff\xff\xff\xff"),
    "text of 4 GB": pickled(b"X\xff\xff\xff\xff"),
    "text of 2^63 bytes": pickled(b"\x8d" + b"\xff" * 7 + b"\x7f"),
    "bytes of 2^63": pickled(b"\x8e" + b"\xff" * 7 + b"\x7f"),
    "number of 2 GB": pickled(b"\x8b\xff\xff\xff\x7f"),
    "number of -1 bytes": pickled(b"\x8b\xff\xff\xff\xff"),
    "text of no letters": pickled(b"X\x01\0\0\0\xff"),
    "line of digits": pickled(b"I" + b"9" * 10_000 + b"\n"),
    "storage that is missing": pickled(table(a=tensor(storage("7")))),
    "storage that leads away": pickled(table(a=tensor(storage("../data.pkl")))),
    "storage of another size": pickled(table(a=tensor(storage(count=5)))),
    "storage of terabytes": pickled(table(a=tensor(storage(count=2**40), shape=(2**40,)))),
    "storage of another width": pickled(table(a=tensor(storage(kind="HalfStorage")))),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_pickles_are_refused_without_making_room(case: str) -> None:
    content = archived(DAMAGED[case])
    tracemalloc.start()
    said = refused(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "is not a whole checkpoint" in said
    assert peak < 5_000_000
    assert "is not a whole checkpoint" in refused(old(DAMAGED[case])) or case.startswith("storage")


def test_a_far_place_in_the_memo_makes_no_room() -> None:
    path = Path("a.pth")
    path.write_bytes(
        archived(pickled(b"r\xff\xff\xff\xff".join([b"}", text("a")]) + tensor() + b"s"))
    )
    with open_weights(path) as opened:
        assert set(opened.entries) == {"a"}


def test_nesting_and_shared_lists_do_no_harm() -> None:
    """A tower of tuples, and a list that would be huge were it written out, are passed over."""
    tower = b")" + b"\x85" * 100_000
    path = Path("a.pth")
    doubled = (b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60))
    laughs = b"]q\x00Na" + b"".join(doubled)
    listed = b"(" + laughs + b"t"
    path.write_bytes(archived(pickled(table(a=tensor(), x=tower, y=listed))))
    with open_weights(path) as opened:
        assert set(opened.entries) == {"a"}
        assert opened.read("a") == struct.pack("<4f", 1, 2, 3, 4)


def held(count: int = 4, view: bytes = b"N") -> bytes:
    """Return the opcodes of a storage of the old form."""
    kind = name("torch", "FloatStorage")
    return many(text("storage"), kind, text("k"), text("cpu"), number(count), view) + b"Q"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (old(pickled(b"}"), b"]" + text("k") + b"a"), "storages are not those of its tensors"),
        (old(pickled(tensor(held()))), "storages are not those of its tensors"),
        (old(pickled(b"}"), b"N"), "storages are not those of its tensors"),
        (old(pickled(b"}"), storages=b"x"), "1 bytes follow its last storage"),
        (old(pickled(tensor(held())), b"]" + text("k") + b"a"), "has 0 numbers, expected 4"),
        (
            old(
                pickled(tensor(held())), b"]" + text("k") + b"a", struct.pack("<Q4f", 5, 1, 2, 3, 4)
            ),
            "has 5 numbers, expected 4",
        ),
        (
            old(pickled(tensor(held(10**12))), b"]" + text("k") + b"a", struct.pack("<Q", 10**12)),
            "4000000000000 bytes are announced where 0 follow",
        ),
        (old(pickled(tensor(held(4, text("x"))))), "the part 'x' of a storage"),
        (
            old(pickled(tensor(held(4, many(text("v"), number(2), number(3)))))),
            "the part ('v', 2, 3) of a storage of 4 numbers",
        ),
        (pickled(number(0x1950A86A20F9469CFC6C)) + pickled(number(7)), "its pickle is damaged"),
        (pickled(number(7)) + pickled(number(1001)), "not what torch writes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "its pickle is damaged"),
    ],
)
def test_damaged_old_files_are_refused(content: bytes, words: str) -> None:
    assert words in refused(content)


def test_more_behind_the_pickle_is_refused() -> None:
    content = archived(GOOD + pickled(call("os", "system", TOUCH)))
    assert "holds more behind its pickle" in refused(content)


pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence")
"""Of the texts of Python 2, which Python's own reader of opcodes unescapes."""


def outcome(content: bytes, suffix: str = ".pth") -> str:
    """Open and read all; nothing but the project's error may come, in one printable sentence."""
    path = Path(f"changed{suffix}")
    path.write_bytes(content)
    try:
        with open_weights(path) as opened:
            for key in opened.entries:
                opened.read(key)
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017 (it may also be read)
        return "refused"
    finally:
        assert not Path("pwned").exists()
    return "read"


HOSTILE = table(a=tensor(), b=call("os", "system", text("touch pwned")))
SEEDS = {
    "archive": lambda: saved(Path("a.pth"), {"a": torch.ones(9), "b": torch.ones(2, 3).T}),
    "old": lambda: saved(
        Path("a.pth"), {"a": torch.ones(9), "b": torch.ones(4)[1:]}, archive=False
    ),
}


@pytest.mark.parametrize("form", SEEDS)
def test_changed_files_are_read_or_refused_in_a_sentence(form: str) -> None:
    whole, draw = SEEDS[form]().read_bytes(), random.Random(0)
    seen = set()
    for _ in range(700):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        seen.add(outcome(bytes(changed)))
    assert seen == {"read", "refused"}


@pytest.mark.parametrize("value", [table(a=tensor()), HOSTILE], ids=["weights", "hostile"])
def test_changed_pickles_are_read_or_refused_in_a_sentence(value: bytes) -> None:
    """Within an archive whose checksum fits, so that the change is met by what follows opcodes."""
    whole, draw = pickled(value), random.Random(0)
    for _ in range(700):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(changed))
            if draw.random() < 0.3:
                del changed[place]
            else:
                changed[place] = draw.randrange(256)
        outcome(archived(bytes(changed)))


CODES = sorted(each.code.encode("latin-1") for each in pickletools.opcodes)


@given(parts=lists(one_of(sampled_from(CODES), binary(max_size=6)), max_size=40))
@settings(max_examples=400, deadline=None, suppress_health_check=ONE_FOLDER)
def test_any_opcodes_are_read_or_refused_in_a_sentence(parts: list[bytes]) -> None:
    content = b"\x80\x02" + b"".join(parts) + b"."
    outcome(archived(content))
    outcome(old(content))


@given(content=binary(max_size=2000))
@settings(max_examples=60, deadline=None, suppress_health_check=ONE_FOLDER)
def test_any_bytes_are_refused_in_a_sentence(content: bytes) -> None:
    for suffix in READABLE:
        assert outcome(content, suffix) == "refused"
        assert outcome(b"PK\x03\x04" + content, suffix) == "refused"
