"""Whatever a pickled file asks for, nothing of it is run, and it is refused by its name."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from pickle import dumps
from typing import Any

import numpy as np
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
    table,
    tensor,
    text,
)

from brainkit.weights.open import open_weights


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
    """Return the words as a sentence shows them."""
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
        ({"a": Path("x")}, "pathlib"),
    ):
        content = saved(Path("a.pth"), value, archive=archive).read_bytes()
        assert re.search(rf"holds \S*{words}\S*, code that loading", refused(content))
