"""Whatever a pickled file asks for, nothing of it is run, and it is refused by its name."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from pickle import dumps
from typing import Any

import numpy as np
import pytest
import torch

from brainkit.errors import CheckpointError
from brainkit.weights.open import open_weights

sys.path.insert(0, str(Path(__file__).parent / "toys"))
from forged_pickles import (
    Members,
    archived,
    call,
    many,
    name,
    number,
    old,
    pickled,
    saved,
    storage,
    table,
    tensor,
    text,
)

TOUCH = text("touch pwned")
MAKE = text("open('pwned', 'w')")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The malicious files write where the program runs, if at all."""
    monkeypatch.chdir(tmp_path)
    # What the user's environment says must not open another way in.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


def refused(content: bytes, suffix: str = ".pth") -> str:
    """Open in vain; give the sentence after checking that it is one, and that nothing was run."""
    path = Path(f"forged{suffix}")
    path.write_bytes(content)
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(CheckpointError) as caught, open_weights(path):
        pass
    said = str(caught.value)
    assert sorted(Path.cwd().iterdir()) == before
    assert not Path("pwned").exists()
    assert str(path) in said
    assert said.isprintable()
    assert len(said) < 500
    return said


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
        "a call of what torch.Size gave",
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
    "tensor of a tensor": (tensor(tensor()), "with a Made for a storage"),
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
    "state for a tensor": (tensor() + many(storage()) + b"b", "a state for a a tensor object"),
    "state for a size": (call("torch", "Size", many()) + b"}b", "a state for a torch.Size object"),
    "state for a table": (b"}}b", "a state for a dict"),
    "entries in a list": (b"](" + text("x") + b"Nu", "entries set in a list"),
    "entry in a tensor": (tensor() + text("x") + b"Ns", "entries set in a a tensor object"),
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
    "items of a set": (b"\x8f(\x90", "the opcode ADDITEMS"),
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


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5, 6, 255])
def test_pickles_of_other_protocols_are_refused(protocol: int) -> None:
    said = refused(archived(pickled(table(a=tensor()), protocol)))
    assert f"a pickle of protocol {protocol}, where torch writes 2" in said
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


def member(path: str, *, mode: int = 0, packed: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """Give a member with unusual facts."""
    made = zipfile.ZipInfo("x")
    made.filename = path
    made.compress_type, made.external_attr, made.create_system = packed, mode << 16, 3
    return made


GOOD = pickled(table(a=tensor()))
SLIPS = [
    *("../evil.py", "archive/../../evil.py", "/etc/evil", "archive//evil", "archive/./evil"),
    *("..\\evil.py", "archive\\data.pkl", "C:\\evil.py", "C:/evil.py", "c:evil", "\\\\host\\evil"),
    *(
        "archive/..",
        "..",
        ".",
        "archive/data/..",
        "archive/e\nvil",
        "archive/\x1b[31m",
        "archive/\x7f",
    ),
]
EXTRA = [
    *("archive/evil.py", "evil.py", "archive/data.pkl.bak", "archive/DATA.PKL", "archive/data/x"),
    *("archive/data/0.py", "archive/data/", "archive/", "archive/data/1/2", "archive/.data/x"),
    *("archive/.data/extern_modules", "archive/__main__.py", "archive/setup.py", "archive/pickle"),
    *("archive/data/-1", "archive/data/٣", "archive/data/" + "1" * 21, "archive/.ſ", "data.pkl"),
    *("archive/archive/data.pkl", "archive", "other/data.pkl.py"),
]
PROGRAMS = [
    *("archive/code/__torch__.py", "archive/constants.pkl", "archive/constants/0"),
    *("archive/attributes.pkl", "archive/model.json", "archive/bytecode.pkl"),
]


@pytest.mark.parametrize("path", SLIPS, ids=ascii)
def test_members_that_lead_out_of_the_archive_are_refused(path: str) -> None:
    said = refused(archived(GOOD, {member(path): b"x"}))
    assert f"holds the member {path!a}, whose name leads elsewhere" in said


def test_a_name_with_a_nul_is_refused() -> None:
    content = archived(GOOD, {"archive/data/1#.py": b"x"}).replace(b"data/1#.py", b"data/1\0.py")
    assert "the member 'archive/data/1\\x00.py', whose name leads elsewhere" in refused(content)


@pytest.mark.parametrize("path", EXTRA, ids=lambda path: ascii(path)[1:40])
def test_members_that_torch_does_not_write_are_refused_by_name(path: str) -> None:
    said = refused(archived(GOOD, {member(path): b"x"}))
    assert f"holds the member {ascii(path)[:40].rstrip(chr(39))}" in said
    assert "which torch does not write" in said


@pytest.mark.parametrize("path", PROGRAMS)
def test_programs_are_told_as_such(path: str) -> None:
    said = refused(archived(GOOD, {member(path): b"x"}))
    assert (
        f"holds a program (TorchScript, as OpenAI's own files of CLIP are; its member {path!r})"
        in said
    )
    assert "give the .safetensors file" in said


def test_torchscript_that_torch_wrote_is_told_as_such() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "a.pt")  # type: ignore[no-untyped-call]
    assert "holds a program (TorchScript" in refused(Path("a.pt").read_bytes())


MEMBERS: dict[str, tuple[Members, str]] = {
    "link": ({member("archive/data/1", mode=0o120777): b"/etc/passwd"}, "a link or no file"),
    "device": ({member("archive/data/1", mode=0o020666): b""}, "a link or no file"),
    "folder of another": ({member("other/data/1"): b""}, "members in several folders"),
    "packed": (
        {member("archive/data/1", packed=zipfile.ZIP_DEFLATED): bytes(9)},
        "torch packs nothing",
    ),
    "bomb": (
        {member("archive/data/1", packed=zipfile.ZIP_DEFLATED): bytes(10**7)},
        "packed from 10000000 into",
    ),
    "packed otherwise": (
        {member("archive/data/1", packed=zipfile.ZIP_LZMA): bytes(9)},
        "packs nothing",
    ),
    "long note": ({member("archive/.format_version"): bytes(10**5)}, "at most 4096 are usual"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members_of_unusual_kinds_are_refused(case: str) -> None:
    more, words = MEMBERS[case]
    said = refused(archived(GOOD, more))
    assert words in said
    assert case == "folder of another" or "'archive/" in said


def test_a_member_twice_is_refused() -> None:
    for path in ("archive/data.pkl", "archive/data/0"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = archived(GOOD, {path: pickled(call("os", "system", TOUCH))})
        assert f"holds the member '{path}' twice" in refused(content)


def test_a_packed_pickle_is_refused() -> None:
    content = archived(GOOD, compress_type=zipfile.ZIP_DEFLATED)
    assert "the member 'archive/data.pkl' packed from" in refused(content)


def test_an_encrypted_member_is_refused() -> None:
    content = bytearray(archived(GOOD))
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    assert "the member 'archive/data.pkl', which is encrypted" in refused(bytes(content))


def test_two_names_of_one_member_are_refused() -> None:
    content = archived(GOOD)
    first = content.index(b"archive/byteorder")
    forged = content[:first] + b"archive/data/1234" + content[first + 17 :]
    said = refused(forged)
    assert "the member 'archive/byteorder' that is 'archive/data/1234' where it lies" in said


def test_bytes_around_the_archive_are_refused() -> None:
    content = archived(GOOD)
    assert "not a whole checkpoint" in refused(b"#!/bin/sh\n" + content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/hidden", b"x")
        archive.filelist.clear()
        archive.writestr("archive/data.pkl", GOOD)
    assert "holds 45 bytes before its archive" in refused(buffer.getvalue())
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(18)
    assert "not a whole checkpoint" in (said := refused(buffer.getvalue())) or "the comment" in said
    with zipfile.ZipFile(buffer := io.BytesIO(content), "a") as archive:
        archive.comment = b"hello"
    assert "the comment b'hello' behind its archive" in refused(buffer.getvalue())
    assert "not a whole checkpoint" in refused(content + bytes(100_000))


def test_members_that_overlap_are_refused() -> None:
    content = bytearray(archived(GOOD))
    places = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
    size = struct.unpack_from("<L", content, places[0] + 24)[0]
    struct.pack_into("<LL", content, places[0] + 20, size + 60, size + 60)
    assert "ends at byte" in refused(bytes(content))
    content = bytearray(archived(GOOD))
    struct.pack_into(
        "<L", content, places[3] + 42, struct.unpack_from("<L", content, places[2] + 42)[0]
    )
    assert "holds the member 'archive/version' that is 'archive/data/0'" in refused(bytes(content))


def test_sizes_beyond_the_file_are_refused() -> None:
    for size in (2**31, 2**32 - 2):
        content = bytearray(archived(GOOD))
        places = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
        struct.pack_into("<LL", content, places[2] + 20, size, size)
        assert "its archive is damaged" in refused(bytes(content))


def test_a_pickle_of_many_megabytes_is_refused() -> None:
    assert "'archive/data.pkl' with 67108865 bytes" in refused(archived(bytes((1 << 26) + 1)))


def test_a_pickle_with_another_checksum_is_refused() -> None:
    content = archived(GOOD).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3", 1)
    assert "Bad CRC-32" in refused(content)


def test_an_archive_without_a_pickle_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/version", b"3")
    assert "its archive has no data.pkl" in refused(buffer.getvalue())
    np.savez("a.npz", a=np.ones(3))
    assert "the member 'a.npy', which torch does not write" in refused(Path("a.npz").read_bytes())
    with zipfile.ZipFile("none.zip", "w"):
        pass
    assert "is not a whole checkpoint" in refused(Path("none.zip").read_bytes())


def test_more_behind_the_pickle_is_refused() -> None:
    content = archived(GOOD + pickled(call("os", "system", TOUCH)))
    assert "holds more behind its pickle" in refused(content)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_archives_and_old_files_that_are_cut_off_are_told_so(share: float) -> None:
    for archive in (True, False):
        content = saved(Path("a.pth"), {"a": torch.ones(100)}, archive=archive).read_bytes()
        assert "is not a whole checkpoint" in refused(content[: int(share * len(content))])


def test_tar_archives_are_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in ("storages", "tensors", "pickle"):
            made = tarfile.TarInfo(path)
            made.size = 3
            archive.addfile(made, io.BytesIO(b"cos"))
    assert "holds a tar archive, as torch wrote before 2017" in refused(buffer.getvalue(), ".tar")


def held(count: int = 4, view: bytes = b"N") -> bytes:
    """Give the opcodes of a storage of the old form."""
    kind = name("torch", "FloatStorage")
    return many(text("storage"), kind, text("k"), text("cpu"), number(count), view) + b"Q"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (old(pickled(b"}"), b"]" + text("k") + b"a"), "storages are not those of its tensors"),
        (old(pickled(tensor(held()))), "storages are not those of its tensors"),
        (old(pickled(b"}"), b"N"), "storages are not those of its tensors"),
        (old(pickled(b"}"), storages=b"x"), "bytes, expected"),
        (old(pickled(tensor(held())), b"]" + text("k") + b"a"), "has 0 numbers, expected 4"),
        (
            old(
                pickled(tensor(held())), b"]" + text("k") + b"a", struct.pack("<Q4f", 5, 1, 2, 3, 4)
            ),
            "has 5 numbers, expected 4",
        ),
        (
            old(pickled(tensor(held(10**12))), b"]" + text("k") + b"a", struct.pack("<Q", 10**12)),
            "bytes, expected 4000000000",
        ),
        (old(pickled(tensor(held(4, text("x"))))), "the part 'x' of a storage"),
        (
            old(pickled(tensor(held(4, many(text("v"), number(2), number(3)))))),
            "the part ('v', 2, 3) of a storage of 4 numbers",
        ),
        (pickled(number(0x1950A86A20F9469CFC6C)) + pickled(number(7)), "not what torch writes"),
        (pickled(number(7)) + pickled(number(1001)), "not what torch writes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not what torch writes"),
    ],
)
def test_damaged_old_files_are_refused(content: bytes, words: str) -> None:
    assert words in refused(content)


def whole() -> dict[str, Any]:
    """Give all that training programs put beside tensors, and tensors of many kinds."""
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    return {
        "plain": base.clone(),
        "turned": base.T,
        "part": base[1:3, 2:5],
        "half": base.half(),
        "brain": base.to(torch.bfloat16),
        "double": base.double(),
        "whole": torch.arange(5),
        "truth": base > 0,
        "complex": torch.complex(base, base),
        "none": torch.zeros(0, 3),
        "single": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(base.clone()),
        "nested": network.state_dict(),
        "epoch": 3,
        "loss": 0.5,
        "note": "a text",
        "bytes": b"some",
        "flags": {1, 2},
        "counts": Counter("abca"),
        "ordered": OrderedDict(a=1),
        "shape": base.shape,
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "list": [1, (2, None, True)],
        "large": 10**30,
        "optimizer": torch.optim.Adam(network.parameters()).state_dict(),
    }


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "net"])
@pytest.mark.parametrize("archive", [True, False])
def test_genuine_files_give_the_bytes_of_their_tensors(archive: bool, wrapper: str) -> None:
    values = whole()
    content = {wrapper: values, "epoch": 1} if wrapper else values
    tensors = {n: each for n, each in values.items() if isinstance(each, torch.Tensor)}
    with open_weights(saved(Path("a.pth"), content, archive=archive)) as opened:
        assert opened.entries.keys() == tensors.keys()
        for key, each in tensors.items():
            assert opened.entries[key].shape == tuple(each.shape)
            flat = each.detach().contiguous().reshape(-1)
            assert opened.read(key) == flat.view(torch.uint8).numpy().tobytes()
        assert opened.entries["brain"].dtype == "BF16"
        assert opened.entries["truth"].dtype == "torch.bool"


def test_the_table_of_tensors_wins_over_tensors_beside_it() -> None:
    content = {"state_dict": {"module.a": torch.ones(2)}, "b": torch.ones(3)}
    with open_weights(saved(Path("a.tar"), content)) as opened:
        assert set(opened.entries) == {"module.a"}
    content = {"model": {"a": torch.ones(2)}, "b": torch.ones(3)}
    with open_weights(saved(Path("a.pt"), content)) as opened:
        assert set(opened.entries) == {"b"}


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


def test_tensors_of_other_kinds_are_named_as_such() -> None:
    values = {
        "a": torch.zeros(4).to_sparse(),
        "b": torch.zeros(4, device="meta"),
        "c": torch.ones(1),
    }
    with open_weights(saved(Path("a.pth"), values)) as opened:
        assert opened.entries["c"] == ("F32", (1,))
        assert opened.entries["a"].dtype == "torch.sparse_coo tensor"
        assert opened.entries["b"].dtype == "torch.strided tensor"


def test_a_file_without_named_tensors_is_told_so() -> None:
    content = saved(Path("a.pth"), [torch.ones(2)]).read_bytes()
    assert "it holds a list in place of named tensors" in refused(content)


def test_files_as_python_2_wrote_them_are_read() -> None:
    """Short texts, tensors of four arguments, and a table made of the list of its pairs."""
    key = b"U\x01a"
    kind, numbers = name("torch", "FloatStorage"), struct.pack("<Q4f", 4, 1, 2, 3, 4)
    mine = many(b"U\x07storage", kind, b"U\x01k", b"U\x03cpu", number(4), b"N") + b"Q"
    sizes = many(number(2), number(2)), many(number(1), number(2))
    made = call("torch._utils", "_rebuild_tensor", mine, number(0), *sizes)
    pairs = call("collections", "OrderedDict", b"]](" + key + made + b"ea")
    path = Path("a.pth")
    path.write_bytes(old(pickled(pairs), b"]U\x01ka", numbers))
    with open_weights(path) as opened:
        assert opened.entries == {"a": ("F32", (2, 2))}
        assert opened.read("a") == struct.pack("<4f", 1, 3, 2, 4)
