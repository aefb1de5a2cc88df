"""A plugin whose checkpoints are published on the fake hub, each with another fate."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

from brainkit import hookimpl
from brainkit.data import Checkpoint
from brainkit.fetch.hub import MOVED
from brainkit.method import Method
from brainkit.weights import Companion, Naming, Origin, Piece, Release, RemoteFile

SHAPES = {"scale": (5,), "square": (40, 40)}
COMMIT = "c0ffee" * 6 + "c0ff"
URL = os.environ.get("FETCHED_URL", "http://127.0.0.1:9")
MOVED["toys/alias"] = "toys/net"


def only_here(event, arguments):
    """Refuse connections to other machines."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        assert arguments[1][0] in ("127.0.0.1", "::1"), arguments[1]
    if event == "socket.getaddrinfo":
        assert arguments[0] in ("127.0.0.1", "localhost"), arguments[0]


sys.addaudithook(only_here)


def pieces(prefix):
    return lambda config, names: {name: Piece(prefix + name) for name in SHAPES}


def shapes(config):
    """Return the manifest; a test may have time to kill the program meanwhile."""
    time.sleep(float(os.environ.get("TOY_PAUSE", 0)))
    return SHAPES


def release(name, *origins, prefix="", companions=()):
    layout = Naming("official", (("net.safetensors",),), pieces(prefix), r"other\.|own\.")
    return Release(name, origins, {"kind": "toy"}, shapes, (layout,), companions)


def hub(repository, path="net.safetensors", revision="", licence="MIT", **facts):
    return Origin((RemoteFile(path, **facts),), licence, repository=repository, revision=revision)


def direct(path, **facts):
    return Origin((RemoteFile(path, **facts),), "BSD-3-Clause", url=f"{URL}/direct")


WORDS = Companion("words.json", (("words.json",),), origins=(hub("toys/words", "words.json"),))
NET = release("toy-net", hub("toys/net", revision=COMMIT), prefix="own.", companions=(WORDS,))
OTHER = release("toy-other", hub("toys/net", revision=COMMIT), prefix="other.")
NEWEST = release("toy-newest", hub("toys/net"), prefix="own.")
ALIAS = release("toy-alias", hub("toys/alias"), prefix="own.")
RENAMED = release("toy-renamed", hub("toys/renamed"), prefix="own.")
GATED = release("toy-gated", hub("toys/gated", licence="Gated terms"), prefix="own.")
GONE = release("toy-gone", hub("toys/gone"), direct("net.safetensors"), prefix="own.")
NO_FILE = release("toy-no-file", hub("toys/net", "lost.safetensors"), prefix="own.")
NO_COMMIT = release("toy-no-commit", hub("toys/net", revision="0" * 40), prefix="own.")
REWRITTEN = release(
    "toy-rewritten",
    hub("toys/net", revision="0" * 40, sha256=os.environ.get("FETCHED_SHA256", "")),
    prefix="own.",
)
EXCHANGED = release("toy-exchanged", hub("toys/net", sha256="00ff"), prefix="own.")
DIRECT = release("toy-direct", direct("net.safetensors"), prefix="own.")
WRONG = release("toy-wrong", direct("net.safetensors", sha256="00ff00ff"), prefix="own.")
BY_HAND = release(
    "toy-by-hand",
    Origin((RemoteFile("net.safetensors"),), "CC0", page="https://example.invalid/drive"),
    prefix="own.",
)
UNFIT = release("toy-unfit", hub("toys/net"), prefix="nothing.")
RELEASES = {
    name: each
    for name, each in list(globals().items())
    if isinstance(each, Release)
}  # fmt: skip


def checkpoint(constant):
    return Checkpoint(RELEASES[constant].name, release=f"{__name__}:{constant}")


@dataclass(frozen=True)
class Reader:
    """Needs checkpoints."""

    name: str
    checkpoints: tuple[Checkpoint, ...]
    reads = "image"

    def shape(self, store):
        return (1,)

    def load(self, store):
        raise NotImplementedError


EVERYTHING = Reader("reader", tuple(checkpoint(constant) for constant in RELEASES))
UNPUBLISHED = Reader("unpublished", (Checkpoint("toy-unpublished", "a thesis"),))


CHECKPOINTS = (Checkpoint("toy-trained", release=f"{__name__}:OTHER"),)


def method(name, *constants):
    reader = Reader("reader", tuple(checkpoint(each) for each in constants))
    rest = SimpleNamespace(name="none", checkpoints=(), sample=None, needs=(), gives=(), load=None)
    return Method(
        name, "Fetch.", "", encoders={"a": reader}, regressors={}, conditioner=rest, sampler=rest,
        decoders={},
    )  # fmt: skip


@hookimpl
def register_encoders(register):
    register(EVERYTHING)
    register(UNPUBLISHED)


@hookimpl
def register_methods(register):
    register(method("pair", "NET", "OTHER"))
    register(
        method("trouble", "GATED", "GONE", "NO_FILE", "NO_COMMIT", "EXCHANGED", "BY_HAND", "OTHER")
    )
