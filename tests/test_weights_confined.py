"""A confined process reads and writes in its place; all else is refused before it happens."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PREAMBLE = """
import ctypes, os, shutil, signal, socket, sqlite3, subprocess, sys, tempfile
from pathlib import Path
{imports}
from brainkit.weights.confined import ConfinedError, confine, leave_network
store, outside, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
{before}
alone = confine(store)
{after}
"""


def places(tmp_path: Path) -> tuple[Path, Path]:
    """Make the place that may be written to, and a folder beside it with a file and a link."""
    store, outside = tmp_path / "store", tmp_path / "store-beside"
    store.mkdir()
    outside.mkdir()
    (store / "mine").write_text("mine")
    (outside / "file").write_text("kept")
    (outside / "link").symlink_to(store / "mine")
    (store / "way-out").symlink_to(outside)
    return store, outside


def child(
    tmp_path: Path, after: str, *, before: str = "", imports: str = "", port: int = 9
) -> subprocess.CompletedProcess[str]:
    """Run a program that confines itself first."""
    script = PREAMBLE.format(imports=imports, before=before, after=after)
    paths = [str(tmp_path / "store"), str(tmp_path / "store-beside"), str(port)]
    return subprocess.run(
        [sys.executable, "-c", script, *paths],
        capture_output=True,
        text=True,
        cwd=tmp_path / "store",
        check=False,
        timeout=120,
    )


REFUSED = {
    "connection": "socket.create_connection(('127.0.0.1', port))",
    "datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "name lookup": "socket.getaddrinfo('localhost', port)",
    "pair of sockets": "socket.socketpair()",
    "program": "subprocess.run(['true'])",
    "shell": "os.system(f'touch {outside}/made')",
    "exec": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "terminal": "os.forkpty()",
    "signal": "os.kill(os.getppid(), 0)",
    "library": "ctypes.CDLL(None)",
    "library's function": "ctypes.pythonapi.PyRun_SimpleString",
    "memory": "ctypes.string_at(1, 1)",
    "new file": "open(outside / 'made', 'w')",
    "exclusive file": "open(outside / 'made', 'x')",
    "more in a file": "open(outside / 'file', 'a')",
    "change of a file": "open(outside / 'file', 'r+b')",
    "change by flags": "os.open(outside / 'file', os.O_RDWR)",
    "truncation by flags": "os.open(outside / 'file', os.O_RDONLY | os.O_TRUNC)",
    "file by bytes": "open(os.fsencode(outside / 'made'), 'w')",
    "file through dots": "open(f'{store}/../store-beside/made', 'w')",
    "file through a link": "open(store / 'way-out' / 'made', 'w')",
    "path without a root": "open('../store-beside/made', 'w')",
    "file relative to a folder": (
        "os.open('made', os.O_CREAT | os.O_WRONLY, dir_fd=os.open(outside, os.O_RDONLY))"
    ),
    "truncation": "os.truncate(outside / 'file', 0)",
    "deletion": "os.remove(outside / 'file')",
    "deletion by path": "(outside / 'file').unlink()",
    "deletion of a link": "os.remove(outside / 'link')",
    "deletion in a folder": "os.remove('file', dir_fd=os.open(outside, os.O_RDONLY))",
    "folder": "os.mkdir(outside / 'made')",
    "folders": "os.makedirs(outside / 'a' / 'made')",
    "end of a folder": "os.rmdir(outside)",
    "end of the place itself": "os.rmdir(store)",
    "tree": "shutil.rmtree(outside)",
    "way in by renaming": "os.rename(outside / 'file', store / 'file')",
    "way out by renaming": "os.rename(store / 'mine', outside / 'made')",
    "way out by replacing": "os.replace(store / 'mine', outside / 'file')",
    "move": "shutil.move(outside / 'file', store / 'file')",
    "copy": "shutil.copyfile(store / 'mine', outside / 'made')",
    "second name": "os.link(outside / 'file', store / 'second')",
    "link": "os.symlink(outside, store / 'second')",
    "link outside": "os.symlink(store, outside / 'made')",
    "rights": "os.chmod(outside / 'file', 0)",
    "owner": "os.chown(outside / 'file', 0, 0)",
    "times": "os.utime(outside / 'file', (0, 0))",
    "temporary file": "tempfile.mkstemp(dir=outside)",
    "temporary folder": "tempfile.mkdtemp(dir=outside)",
    "database": "sqlite3.connect(outside / 'made')",
    "unpickling": "pickle.loads(b'cbuiltins\\neval\\n.')",
}


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Try everything in one confined process; give its folder and the error of each."""
    tmp_path = tmp_path_factory.mktemp("confined")
    places(tmp_path)
    lines = ["import pickle as pickled"]  # known before, so that only its use can be refused
    after = []
    for name, tried in REFUSED.items():
        tried = tried.replace("pickle.", "pickled.")
        after += [
            "try:",
            f"    {tried}",
            "except BaseException as error:",
            f"    print({name!r}, type(error).__name__, error, sep='\\t')",
            "else:",
            f"    print({name!r}, 'done', '', sep='\\t')",
        ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = child(tmp_path, "\n".join(after), imports="\n".join(lines), port=port)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert ended.returncode == 0, ended.stderr
    rows = [line.split("\t") for line in ended.stdout.splitlines()]
    return tmp_path, {name: kind for name, kind, _ in rows}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reading_files_needs_not_is_refused(
    name: str, tried: tuple[Path, dict[str, str]]
) -> None:
    assert tried[1][name] == "ConfinedError"


def test_nothing_changed_outside(tried: tuple[Path, dict[str, str]]) -> None:
    outside = tried[0] / "store-beside"
    assert sorted(path.name for path in outside.iterdir()) == ["file", "link"]
    assert (outside / "file").read_text() == "kept"
    assert sorted(path.name for path in (tried[0] / "store").iterdir()) == ["mine", "way-out"]


@pytest.mark.parametrize("name", ["connection", "program", "shell", "new file", "deletion"])
def test_the_same_is_done_where_nothing_is_confined(name: str, tmp_path: Path) -> None:
    places(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = child(tmp_path, "print('done')", before=REFUSED[name], port=port)
    assert ended.stdout == "done\n", ended.stderr


def test_writing_inside_works(tmp_path: Path) -> None:
    store, _ = places(tmp_path)
    after = """
(store / 'a' / 'b').mkdir(parents=True)
(store / 'a' / 'b' / 'c').write_text('x')
with open(store / 'a' / 'b' / 'c', 'r+') as file: file.truncate(0); file.write('yz')
os.rename(store / 'a', store / 'd')
os.replace(store / 'mine', store / 'd' / 'mine')
(store / 'd' / 'b' / 'c').unlink()
os.rmdir(store / 'd' / 'b')
(store / 'e' / 'f').mkdir(parents=True)
(store / 'e' / 'f' / 'g').write_text('x')
shutil.rmtree(store / 'e')
os.fdopen(os.dup(1), 'w').write('said\\n')
"""
    ended = child(tmp_path, after)
    assert (ended.returncode, ended.stdout) == (0, "said\n"), ended.stderr
    assert (store / "d" / "mine").read_text() == "mine"
    assert sorted(path.name for path in store.iterdir()) == ["d", "way-out"]


@pytest.mark.parametrize("archive", [True, False])
def test_libraries_go_on_working(archive: bool, tmp_path: Path) -> None:
    store, outside = places(tmp_path)
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(tensors, outside / "a.pth", _use_new_zipfile_serialization=archive)
    after = """
from brainkit.weights.open import open_weights, write_safetensors
loaded = torch.load(outside / 'a.pth', weights_only=True)
with open_weights(outside / 'a.pth') as opened:
    write_safetensors(store / 'a.safetensors', opened.entries, opened.read)
with safetensors.safe_open(store / 'a.safetensors', framework='pt') as written:
    assert torch.equal(written.get_tensor('a'), loaded['a'])
safetensors.torch.load_file(store / 'a.safetensors')['b'] + 1
np.save(store / 'a.npy', loaded['a'].numpy()); np.load(store / 'a.npy')
"""
    ended = child(tmp_path, after, imports="import numpy as np, safetensors.torch, torch")
    assert ended.returncode == 0, ended.stderr
    assert (store / "a.safetensors").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no such call")
def test_the_kernel_takes_the_network_where_it_says_so(tmp_path: Path) -> None:
    """Seen by the network's number and devices, in which Python's audit events have no part."""
    places(tmp_path)
    seen = (
        "os.readlink('/proc/self/ns/net'), "
        "[line.split(':')[0].strip() for line in open('/proc/self/net/dev') if ':' in line]"
    )
    after = f"(number, _), (own, devices) = before, ({seen})\nprint(alone, number != own, *devices)"
    ended = child(tmp_path, after, before=f"before = {seen}")
    assert ended.returncode == 0, ended.stderr
    said, changed, *devices = ended.stdout.split()
    assert said == changed
    assert said == "False" or devices == ["lo"]


def test_a_kernel_that_keeps_the_network_is_no_error(tmp_path: Path) -> None:
    """As on other systems: what the kernel cannot do is said, and Python's wall stands."""
    places(tmp_path)
    before = "import brainkit.weights.confined as here; here._unshare = lambda: lambda flags: False"
    after = """
print(alone)
try: socket.socket()
except ConfinedError as error: print(error)
"""
    ended = child(tmp_path, after, before=before)
    assert ended.stdout == "False\nsocket.__new__ was tried\n", ended.stderr
