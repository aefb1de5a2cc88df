"""Whatever a pickled file asks for, nothing of it is run, and it is refused by its name."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from pickle import dumps
from typing import Any

import numpy as np
import pytest
import torch

from brainkit.weights.open import open_weights

sys.path.insert(0, str(Path(__file__).parent / "toys"))
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


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)


TOUCH = text("touch pwned")

MAKE = text("open('pwned', 'w')")


def everywhere(value: bytes, protocol: int = 2) -> list[bytes]:
    """Put a value alone, beside and within tensors, into archives, old files and bare pickles."""
    beside = table(state_dict=table(a=tensor()), epoch=value)
    within = table(state_dict=table(a=tensor(), b=value))
    first = pickled(value, protocol)
    forms = [archived(pickled(each, protocol)) for each in (value, beside, within)]
    return [*forms, old(first), first, first + pickled(number(1)), old(pickled(b"}"), value)]


# Every one of these would leave a file, start a program or read another file if it were loaded.
ASKED: list[tuple[str, str, tuple[bytes, ...]]] = [
    ("os", "system", (TOUCH,)),
    ("posix", "system", (TOUCH,)),
    ("nt", "system", (TOUCH,)),
    ("os", "popen", (TOUCH,)),
    ("os", "mkdir", (text("pwned"),)),
    ("os", "execvp", (text("touch"), many(text("touch"), text("pwned")))),
    ("builtins", "eval", (MAKE,)),
    ("builtins", "exec", (MAKE,)),
    ("__builtin__", "eval", (MAKE,)),
    ("__builtin__", "execfile", (text("pwned.py"),)),
    ("builtins", "open", (text("pwned"), text("w"))),
    ("io", "open", (text("pwned"), text("w"))),
    ("_io", "open_code", (text("pwned"),)),
    ("builtins", "__import__", (text("antigravity"),)),
    ("builtins", "getattr", (name("torch", "float32"), text("__class__"))),
    ("builtins", "compile", (MAKE, text("x"), text("exec"))),
    ("builtins", "breakpoint", ()),
    ("builtins", "map", (name("os", "system"), many(TOUCH))),
    ("builtins", "bytearray", (number(10**12),)),
    ("importlib", "import_module", (text("antigravity"),)),
    ("subprocess", "Popen", (many(text("touch"), text("pwned")),)),
    ("subprocess", "check_output", (many(text("touch"), text("pwned")),)),
    ("pty", "spawn", (text("touch pwned"),)),
    ("commands", "getoutput", (TOUCH,)),
    ("runpy", "run_path", (text("pwned.py"),)),
    ("runpy", "_run_code", (MAKE,)),
    ("timeit", "timeit", (MAKE,)),
    ("cProfile", "run", (MAKE,)),
    ("pdb", "run", (MAKE,)),
    ("code", "interact", ()),
    ("doctest", "debug_script", (MAKE,)),
    ("pydoc", "pipepager", (text("x"), TOUCH)),
    ("asyncio", "create_subprocess_shell", (TOUCH,)),
    ("multiprocessing.util", "spawnv_passfds", ()),
    ("webbrowser", "open", (text("file:///etc/passwd"),)),
    ("urllib.request", "urlopen", (text("http://127.0.0.1"),)),
    ("socket", "create_connection", (many(text("127.0.0.1"), number(9)),)),
    ("ctypes", "CDLL", (text("libc.so.6"),)),
    ("_ctypes", "dlopen", (text("libc.so.6"), number(0))),
    ("marshal", "loads", (text("x"),)),
    ("pickle", "loads", (text("cos\nsystem\n(S'touch pwned'\ntR."),)),
    ("_pickle", "loads", (text("x"),)),
    ("shelve", "open", (text("pwned"),)),
    ("shutil", "copyfile", (text("a"), text("pwned"))),
    ("shutil", "rmtree", (text("."),)),
    ("tempfile", "mkstemp", ()),
    ("zipfile", "ZipFile", (text("pwned"), text("w"))),
    ("logging", "FileHandler", (text("pwned"),)),
    ("sqlite3", "connect", (text("pwned"),)),
    ("functools", "partial", (name("os", "system"), TOUCH)),
    ("functools", "reduce", (name("os", "system"), many(TOUCH))),
    ("operator", "methodcaller", (text("system"), TOUCH)),
    ("operator", "attrgetter", (text("system"),)),
    ("types", "FunctionType", ()),
    ("types", "CodeType", ()),
    ("copyreg", "_reconstructor", (name("builtins", "object"),)),
    ("copyreg", "add_extension", (text("os"), text("system"), number(1))),
    ("collections", "defaultdict", (name("builtins", "eval"),)),
    ("collections", "namedtuple", (text("x"), text("y"))),
    ("collections", "deque", ()),
    ("numpy", "load", (text("x.npy"), b"N", b"\x88")),
    ("numpy.core.multiarray", "_reconstruct", ()),
    ("numpy.core.multiarray", "scalar", ()),
    ("numpy.testing._private.utils", "runstring", (MAKE, b"}")),
    ("numpy.f2py.crackfortran", "myeval", (MAKE,)),
    ("joblib", "load", (text("x"),)),
    ("pandas", "read_pickle", (text("x"),)),
    ("torch", "load", (text("other.pt"),)),
    ("torch.serialization", "load", (text("other.pt"),)),
    ("torch.serialization", "add_safe_globals", (b"]",)),
    ("torch.storage", "_load_from_bytes", (text("cos\nsystem\n(S'touch pwned'\ntR."),)),
    ("torch.jit", "load", (text("other.pt"),)),
    ("torch.hub", "load", (text("a/b"), text("c"))),
    ("torch.utils.cpp_extension", "load", (text("x"),)),
    ("torch.utils.bottleneck.__main__", "run_prof", (MAKE,)),
    ("torch.distributed.rpc.internal", "_run_function", ()),
    ("torch.fx.graph_module", "reduce_graph_module", (b"}", b"}")),
    ("torch._dynamo.guards", "GuardBuilder.get", (text("x"),)),
    ("torch._utils", "_rebuild_parameter_with_state", ()),
    ("torch._utils", "_rebuild_wrapper_subclass", ()),
    ("torch._utils", "_rebuild_qtensor", ()),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", ()),
    ("torch._tensor", "_rebuild_from_type_v2", (name("os", "system"),)),
    ("torch", "Tensor", ()),
    ("torch.nn.parameter", "Parameter", ()),
    ("torch.nn.modules.linear", "Linear", ()),
    ("torch.storage", "UntypedStorage", (number(10**12),)),
    ("torch.cuda", "FloatStorage", ()),
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", ()),
    ("transformers.training_args", "TrainingArguments", ()),
    ("torch_utils.persistence", "_reconstruct_persistent_obj", (b"}",)),
]

# Names that resemble those that weights ask for.
RESEMBLING = [
    ("collections", "OrderedDict.fromkeys"),
    ("collections", "OrderedDict.__init__.__globals__"),
    ("collections.OrderedDict", "fromkeys"),
    ("collections", "ordereddict"),
    ("collections", "OrderedDict "),
    ("collections ", "OrderedDict"),
    ("collections\t", "OrderedDict"),
    ("torch", "_utils._rebuild_tensor_v2"),
    ("torch._utils._rebuild_tensor_v2", "__globals__"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("torch", "serialization._get_layout"),
    ("torch", "FloatStorage.__class__"),
    ("torch", "float32.__class__.__base__"),
    ("torch", "os.system"),
    ("torch.torch", "FloatStorage"),
    ("", "torch.FloatStorage"),
    ("builtins", "set.__class__"),
    ("_codecs", "decode"),
    ("_codecs", "lookup"),
    ("codecs", "encode"),
    ("", ""),
    (".", "."),
    ("a" * 10_000, "b" * 10_000),
    ("o\x1b[31m", "system"),
]

ODD_LETTERS = [("ｏｓ", "system"), ("collections", "OrderedDiсt"), ("\ud800", "x"), ("os\n", "a")]


def dotted(module: str, word: str) -> str:
    """Give the words as a sentence shows them."""
    joined = f"{module}.{word}"
    return ascii(joined if len(joined) <= 100 else f"{joined[:100]}...")[1:-1]


@pytest.mark.parametrize("asked", ASKED, ids=lambda each: f"{each[0]}.{each[1]}")
def test_code_is_refused_by_name_wherever_it_stands(
    asked: tuple[str, str, tuple[bytes, ...]],
) -> None:
    module, word, values = asked
    words = f"holds {module}.{word}, code that loading would run, so it was not read"
    for content in everywhere(call(module, word, *values)):
        assert words in refused(content)


FORMS: dict[str, Callable[[str, str], bytes]] = {
    "named": name,
    "called": lambda module, word: call(module, word, TOUCH),
    "from the stack": lambda module, word: text(module) + text(word) + b"\x93" + many(TOUCH) + b"R",
    "short texts": lambda module, word: (
        b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, word)) + b"\x93"
    ),
    "instance": lambda module, word: b"(" + TOUCH + f"i{module}\n{word}\n".encode(),
    "object": lambda module, word: b"(" + name(module, word) + TOUCH + b"o",
    "new object": lambda module, word: name(module, word) + many(TOUCH) + b"\x81",
    "with keywords": lambda module, word: name(module, word) + many(TOUCH) + b"}\x92",
    "state": lambda module, word: name(module, word) + table(__class__=TOUCH) + b"b",
    "persistent id": lambda module, word: name(module, word) + b"Q",
    "kind of a storage": lambda module, word: (
        many(text("storage"), name(module, word), text("0"), text("cpu"), number(4)) + b"Q"
    ),
    "within a persistent id": lambda module, word: many(text("module"), name(module, word)) + b"Q",
    "argument": lambda module, word: call("collections", "OrderedDict", name(module, word)),
    "hook": lambda module, word: call(
        *("torch._utils", "_rebuild_parameter", tensor(), b"\x89"), call(module, word, TOUCH)
    ),
    "reduce chain": lambda module, word: (
        call("collections", "OrderedDict") + many() + b"R" + call(module, word, TOUCH)
    ),
    "thrown away": lambda module, word: call(module, word, TOUCH) + b"0N",
    "thrown away with a mark": lambda module, word: b"(" + call(module, word, TOUCH) + b"1N",
    "kept and recalled": lambda module, word: (
        name(module, word) + b"q\x000h\x00" + many(TOUCH) + b"R"
    ),
    "attribute of a table": lambda module, word: (
        call("collections", "OrderedDict") + table(items=call(module, word, TOUCH)) + b"b"
    ),
    "after odd opcodes": lambda module, word: (
        b"N2\x8e" + bytes(8) + b"0" + call(module, word, TOUCH)
    ),
    "after an odd call": lambda module, word: (
        call("torch", "FloatStorage", number(9)) + name(module, word)
    ),
    "behind a frame": lambda module, word: b"\x95" + bytes(8) + call(module, word, TOUCH),
    "as Python 2 wrote texts": lambda module, word: name(module, word) + b"(S'touch pwned'\ntR",
}


@pytest.mark.parametrize("protocol", range(7))
@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_name_code_is_seen(form: str, protocol: int) -> None:
    value = FORMS[form]("posix", "system")
    assert "holds posix.system, code that loading would run" in refused(
        archived(pickled(value, protocol))
    )
    assert "holds posix.system, code that" in refused(old(value + b"."))


class Call:
    """Pickles as the call of a function, and would be that call if it were loaded."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


HARMS = {
    "system": (Call(os.system, "touch pwned"), f"{os.name}.system"),
    "eval": (Call(eval, "open('pwned', 'w')"), "eval"),
    "exec": (Call(exec, "open('pwned', 'w')"), "exec"),
    "open": (Call(open, "pwned", "w"), "io.open"),
    "mkdir": (Call(os.mkdir, "pwned"), f"{os.name}.mkdir"),
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".tar"])
@pytest.mark.parametrize("harm", HARMS)
def test_files_that_torch_itself_wrote_around_code_are_refused(harm: str, suffix: str) -> None:
    thing, words = HARMS[harm]
    for archive in (True, False):
        for protocol in range(2, 6):
            value = {"state_dict": {"a": torch.ones(2)}, "x": [{"y": (thing,)}]}
            buffer = io.BytesIO()
            torch.save(
                *(value, buffer),
                pickle_protocol=protocol,
                _use_new_zipfile_serialization=archive,
            )
            said = refused(buffer.getvalue(), suffix)
            assert f"{words}, code that loading would run" in said
    for protocol in range(6):
        assert f"{words}, code that" in refused(dumps({"x": thing}, protocol), suffix)


@pytest.mark.parametrize("harm", HARMS)
def test_the_refused_calls_would_have_left_a_trace(harm: str) -> None:
    thing, _ = HARMS[harm]
    thing.function(*thing.arguments)
    assert Path("pwned").exists()


@pytest.mark.parametrize("asked", RESEMBLING, ids=lambda pair: ascii(".".join(pair))[1:40])
def test_names_are_allowed_only_exactly(asked: tuple[str, str]) -> None:
    words = f"holds {dotted(*asked)}, code that"
    said = refused(archived(pickled(name(*asked) + b")R")))
    assert words.replace(" ", "") in said.replace(" ", "")  # one parts the words of its opcode
    assert words in refused(archived(pickled(text(asked[0]) + text(asked[1]) + b"\x93)R", 4)))


@pytest.mark.parametrize("asked", ODD_LETTERS, ids=ascii)
def test_letters_that_look_alike_are_shown_as_they_are(asked: tuple[str, str]) -> None:
    said = refused(archived(pickled(text(asked[0]) + text(asked[1]) + b"\x93)R", 4)))
    assert f"holds {dotted(*asked)}, code that" in said
    if "\n" not in asked[0] and asked[0].isprintable():
        line = f"c{asked[0]}\n{asked[1]}\n)R".encode()
        assert "code that loading would run" in refused(archived(pickled(line)))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_codes_of_the_extension_registry_are_refused(width: int) -> None:
    value = bytes([0x81 + {1: 1, 2: 2, 4: 3}[width]]) + (7).to_bytes(width, "little")
    for content in everywhere(value):
        assert "the class or function of extension code 7, code that" in refused(content)


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


@pytest.mark.parametrize("archive", [True, False])
def test_storages_that_hold_pickles_and_archives_are_numbers(archive: bool) -> None:
    """Nothing looks into the bytes of a storage."""
    evil = archived(pickled(call("os", "system", TOUCH)))
    nested = torch.frombuffer(bytearray(evil), dtype=torch.uint8)
    with open_weights(saved(Path("a.pth"), {"a": nested}, archive=archive)) as opened:
        assert opened.read("a") == evil
    assert not Path("pwned").exists()


@pytest.mark.parametrize("archive", [True, False])
def test_modules_and_arrays_are_refused_by_name(archive: bool) -> None:
    for value, words in (
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"a": np.ones(3)}, "_reconstruct"),
        ({"a": np.float64(3)}, "scalar"),
        ({"a": Path("x")}, "pathlib"),
    ):
        content = saved(Path("a.pth"), value, archive=archive).read_bytes()
        assert re.search(rf"holds \S*{words}\S*, code that loading", refused(content))
