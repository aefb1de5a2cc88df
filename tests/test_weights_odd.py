"""What no file with weights has is refused, and told what it is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from forged_pickles import (
    archived,
    call,
    many,
    name,
    number,
    pickled,
    refused,
    storage,
    table,
    tensor,
    text,
)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)


ODD: dict[str, tuple[bytes, str]] = {
    "text as persistent id": (text("x") + b"Q", "the persistent id 'x'"),
    "line as persistent id": (b"Pos.system\n", "the persistent id 'os.system'"),
    "number as persistent id": (number(3) + b"Q", "the persistent id 3"),
    "empty persistent id": (b")Q", "a persistent id with the kind None"),
    "module as persistent id": (
        many(text("module"), text("x"), text("y"), text("z"), b"N") + b"Q",
        "a persistent id with the kind 'module'",
    ),
    "short persistent id": (
        many(text("storage")) + b"Q",
        "a persistent id with the kind 'storage'",
    ),
    "storage of no name": (
        many(text("storage"), text("FloatStorage"), text("0"), text("cpu"), number(4)) + b"Q",
        "a persistent id with a storage of 'FloatStorage'",
    ),
    "storage of a function": (
        many(text("storage"), name("collections", "OrderedDict"), text("0"), text("cpu"), number(4))
        + b"Q",
        "a storage of collections.OrderedDict",
    ),
    "storage without numbers": (storage(where="meta"), "a storage of torch.FloatStorage"),
    "storage of -4 numbers": (storage(count=-4), "the storage '0' of -4 numbers"),
    "storage called": (
        call("torch", "FloatStorage", number(10**12)),
        "a call of torch.FloatStorage",
    ),
    "dtype called": (call("torch", "float32"), "a call of torch.float32"),
    "call of a call": (
        call("torch", "Size", many()) + many() + b"R",
        "a call of a tuple",
    ),
    "call of a table": (b"})R", "a call of a dict"),
    "call with a list": (name("torch", "Size") + b"]R", "a call of torch.Size"),
    "size of a text": (call("torch", "Size", text("x")), "a call of torch.Size with 'x'"),
    "set of tables": (call("builtins", "set", b"]}a"), "a call of builtins.set with"),
    "unpacking codec": (
        call("_codecs", "encode", text("x"), text("zip")),
        "a call of _codecs.encode with 'zip'",
    ),
    "tensor of a table": (tensor(b"}"), "_rebuild_tensor_v2 with a dict for a storage"),
    "tensor of a tensor": (tensor(tensor()), "with a Tensor for a storage"),
    "tensor beyond its storage": (tensor(shape=(5,)), "the shape (5,) and the strides (1,) from 0"),
    "tensor from behind its storage": (tensor(at=1), "from 1 on in a storage of 4 numbers"),
    "tensor with far strides": (
        tensor(shape=(2,), stride=(10**15,)),
        "the strides (1000000000000000",
    ),
    "tensor of one number told a million million": (
        tensor(shape=(10**12,), stride=(0,)),
        "the shape (1000000000000,) and the strides (0,)",
    ),
    "tensor with a negative stride": (tensor(stride=(-1,)), "the strides (-1,)"),
    "tensor with a negative size": (tensor(shape=(-1,)), "the shape (-1,)"),
    "tensor with too few strides": (tensor(stride=()), "the strides ()"),
    "tensor of 65 axes": (tensor(shape=(1,) * 65, stride=(1,) * 65), "the shape (1, 1, 1"),
    "tensor with hooks": (
        call(
            *("torch._utils", "_rebuild_tensor_v2", storage(), number(0)),
            *(many(number(4)), many(number(1)), b"\x89", table(x=text("y"))),
        ),
        "the hooks {'x': 'y'}",
    ),
    "tensor with four hundred arguments": (
        call("torch._utils", "_rebuild_tensor_v2", *[b"N"] * 400),
        "_rebuild_tensor_v2 with 400 arguments",
    ),
    "parameter of a text": (
        call("torch._utils", "_rebuild_parameter", text("x"), b"\x89", b"}"),
        "_rebuild_parameter with something other than a tensor",
    ),
    "table of no pairs": (
        call("collections", "OrderedDict", text("x")),
        "a call of collections.OrderedDict with something other than pairs",
    ),
    "attribute items": (
        call("collections", "OrderedDict") + table(items=text("x")) + b"b",
        "the attribute 'items' of a collections.OrderedDict",
    ),
    "attribute __class__": (
        call("collections", "OrderedDict") + table(__class__=text("x")) + b"b",
        "the attribute '__class__' of a collections.OrderedDict",
    ),
    "state in slots": (
        call("collections", "OrderedDict") + many(b"}", table(x=text("y"))) + b"b",
        "a state for a OrderedDict",
    ),
    "state for a tensor": (tensor() + many(storage()) + b"b", "a state for a Tensor"),
    "state for a size": (call("torch", "Size", many()) + b"}b", "a state for a tuple"),
    "state for a table": (b"}}b", "a state for a dict"),
    "entries in a list": (b"](" + text("x") + b"Nu", "entries set in a list"),
    "entry in a tensor": (tensor() + text("x") + b"Ns", "entries set in a Tensor"),
    "values in a table": (b"}Na", "values appended to a dict"),
    "values in a counter": (call("collections", "Counter") + b"(NNe", "values appended to a"),
    "table as a name": (b"}}Ns", "a dict as the name of an entry"),
    "deep tuple as a name": (b"})" + b"\x85" * 100_000 + b"Ns", "a tuple as the name of an entry"),
    "new object": (
        name("collections", "OrderedDict") + b")\x81",
        "an object made of collections.Ord",
    ),
    "instance": (b"(icollections\nOrderedDict\n", "an object made of collections.OrderedDict"),
    "marks": (b"(" * 2000, "a nesting deeper than 1000"),
    "twice": (b"N20", "the opcode DUP"),
    "dropped": (b"NN0", "the opcode POP"),
    "dropped to a mark": (b"N(1", "the opcode POP_MARK"),
    "frozen set": (b"(\x91", "the opcode FROZENSET"),
    "items of a set": (b"\x8f(\x90", "the opcode EMPTY_SET"),
    "bytes": (b"C\x01a", "the opcode SHORT_BINBYTES"),
    "byte array": (b"\x96" + struct.pack("<Q", 1) + b"a", "the opcode BYTEARRAY8"),
    "buffer from outside": (b"\x97", "the opcode NEXT_BUFFER"),
    "text number": (b"I12\n", "the opcode INT"),
    "text of Python 2": (b"S'x'\n", "the opcode STRING"),
    "kept unnumbered": (b"N\x94", "the opcode MEMOIZE"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_no_file_with_weights_has_is_refused(case: str) -> None:
    value, words = ODD[case]
    for content in (
        archived(pickled(value)),
        archived(pickled(table(state_dict=table(a=tensor()), x=value))),
    ):
        said = refused(content)
        assert words in said
        assert "which no file with weights has, so it was not read" in said
