"""Releases of two tiny networks, in layouts like those of real ones."""

from brainkit.weights import Companion, Naming, Origin, Piece, Release, RemoteFile, stems

PART = {"w": (6, 4), "b": (6,), "q": (2, 4), "k": (2, 4), "v": (2, 4), "out": (3, 2)}
OTHER = {"scale": (5,), "square": (4, 4)}


def part_shapes(config):
    width = config["width"]
    return {**PART, "b": (width,), "w": (width, 4)}


def own_names(config, names):
    pieces = {name: Piece(f"net.{name}") for name in ("w", "b")}
    pieces |= {name: Piece("net.qkv", part=(i, 3)) for i, name in enumerate("qkv")}
    return pieces | {"out": Piece("net.head", transposed=True)}


def two_files(config, names):
    first = {name: Piece(name, file=0) for name in ("w", "b", "q", "k", "v")}
    return first | {"out": Piece("head", file=1)}


def other_names(config, names):
    return {name: Piece(f"other.{name}") for name in OTHER}


NET = Release(
    name="toy-net",
    origins=(
        Origin(
            files=(RemoteFile("net.pth"),), licence="MIT", repository="toys/net",
            page="https://example.invalid/toys",
        ),
    ),
    config={"width": 6, "kind": "toy"},
    shapes=part_shapes,
    layouts=(
        Naming("official", (("net.pth", "net.safetensors"),), own_names, r"other\.|step$"),
        Naming("two files", (stems("one/model"), stems("two/model")), two_files),
    ),
    companions=(Companion("words.json", (("words/words.json",),)),),
    checked=("kind",),
)  # fmt: skip
OTHER_NET = Release(
    name="toy-other",
    origins=(Origin(files=(RemoteFile("net.pth"),), licence="MIT", repository="toys/net"),),
    config={},
    shapes=lambda config: OTHER,
    layouts=(Naming("official", (("net.pth",),), other_names, r"net\.|step$"),),
)
