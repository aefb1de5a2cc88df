"""The file of captions: any text survives, and what is no caption is made again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from brainkit import hookimpl, option
from brainkit.errors import DataError
from brainkit.plugins import Registry, Source
from brainkit.run import prepare, run
from brainkit.run.captions import caption_line, read_captions
from brainkit.run.config import RunConfig
from brainkit.run.shared import Draw, Run

ODD = ["\u2028", "\x85", "\x0b", "\x1c", "\r", "\n", "\ud83d", "\udfff", "\U0001f600", "\0", '"\\']


@dataclass(frozen=True)
class Writer:
    """A sentence with an odd character."""

    name = "writer"
    gives = "caption"
    checkpoints = ()
    code: int = option(0x2028, "of the character")
    kind: str = option("text", "what it gives: text, number, too few")

    def load(self, store):
        kinds = {"text": f"a bird{chr(self.code)}on a tree", "number": 5}
        if self.kind == "too few":
            return lambda latents, seeds: ["one"]
        return lambda latents, seeds: [kinds[self.kind] for _ in seeds]


def register_decoders(register):
    register(Writer())


@pytest.fixture
def do(nsd, toy, tmp_path):
    odd = SimpleNamespace(register_decoders=hookimpl(register_decoders))
    sources = [
        Source("toy", "brainkit-toy 1.0", lambda: toy),
        Source("odd", "brainkit-odd 2.0", lambda: odd),
    ]

    def doing(**options) -> Run:
        named = {f"decoder.caption.{name}": value for name, value in options.items()}
        use = {"decoder.caption": "writer"} if options else {}
        config = RunConfig("toy", nsd=nsd, work=tmp_path, images=3, use=use, options=named)
        prepared = prepare(config, Registry(sources), lambda line: None)
        run(prepared)
        return prepared

    return doing


def entry(text: str) -> dict[str, object]:
    return {"image_id": 7, "sample": 2, "caption": text, "stamp": "00"}


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("sign", ODD)
def test_any_text_survives_on_one_line(tmp_path, sign, checked):
    written = caption_line(entry(f"a {sign} b"), checked=checked)
    assert written.count("\n") == 1
    assert len(written.splitlines()) == 1
    (tmp_path / "captions.jsonl").write_bytes(written.encode("utf-8"))
    assert read_captions(tmp_path / "captions.jsonl") == {Draw(7, 2): entry(f"a {sign} b")}


def test_text_is_readable_where_it_can_be():
    assert caption_line(entry("zwei V\u00f6gel")) == (
        '{"image_id": 7, "sample": 2, "caption": "zwei V\u00f6gel", "stamp": "00"}\n'
    )


def test_separators_that_an_earlier_brainkit_wrote_are_read(tmp_path):
    text = json.dumps(entry("a \u2028 \x85 b"), ensure_ascii=False) + "\n"
    (tmp_path / "captions.jsonl").write_text(text, encoding="utf-8")
    assert read_captions(tmp_path / "captions.jsonl") == {Draw(7, 2): entry("a \u2028 \x85 b")}


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b'"a"', b"[" * 100_000),
        *(b'{"image_id": 1}', b'{"image_id": [], "caption": "a", "stamp": "0"}'),
        b'{"image_id": 1, "caption": null, "stamp": "0"}',
        b'{"image_id": 1, "caption": "a", "stamp": "0", "sample": {}}',
        b'{"image_id": 1, "caption": "a", "stamp": "0", "check": "0"}',
        b'{"image_id": 1e999, "caption": "a", "stamp": "0"}',
    ],
)
def test_lines_of_another_shape_are_left_out(tmp_path, line):
    good = caption_line(entry("a"), checked=True).encode()
    (tmp_path / "captions.jsonl").write_bytes(line + b"\n" + good + line)
    assert read_captions(tmp_path / "captions.jsonl") == {Draw(7, 2): entry("a")}


def test_a_line_that_grows_is_checked(tmp_path):
    line = caption_line(entry("a bird"), checked=True).replace("bird", "fish")
    (tmp_path / "captions.jsonl").write_text(line)
    assert read_captions(tmp_path / "captions.jsonl") == {}


def test_what_is_no_file_holds_no_captions(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link", "nothing"):
        assert read_captions(tmp_path / name) == {}


@pytest.mark.parametrize("code", [0x2028, 0x85, 0xD83D])
def test_a_run_with_odd_captions_ends_and_computes_nothing_again(do, code):
    first = do(code=code)
    lines = read_captions(first.folder.captions("brain"))
    assert [line["caption"] for line in lines.values()] == [f"a bird{chr(code)}on a tree"] * 3
    assert "a bird" in first.folder.report.read_text(encoding="utf-8")
    assert do(code=code).work.computed == []


@pytest.mark.parametrize("kind", ["number", "too few"])
def test_a_decoder_that_gives_no_captions_is_named(do, kind):
    with pytest.raises(DataError, match=r"decoder 'writer' \(brainkit-odd 2.0\) gave . of .*, exp"):
        do(kind=kind)


def test_a_killed_writing_of_captions_goes_on_to_the_same_bytes(do):
    path: Path = do().folder.captions("brain")
    whole = path.read_bytes()
    part = path.with_name(path.name + ".part")
    entries = list(read_captions(path).values())
    part.write_text(caption_line(entries[0], checked=True) + caption_line(entries[1])[:40])
    path.unlink()
    assert "captions/brain" in do().work.computed
    assert path.read_bytes() == whole
    assert not part.exists()
