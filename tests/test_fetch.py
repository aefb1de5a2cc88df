"""`brainkit fetch` against a hub on this machine: what arrives, what goes wrong, what is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from fake_hub import COMMIT, TOKEN, serve
from safetensors.numpy import load_file, save

from brainkit.checkpoints.record import FileFacts

TOYS = Path(__file__).parent / "toys"


def tensors(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed).standard_normal
    return {"scale": draw(5, np.float32), "square": draw((40, 40), np.float32)}


OWN, OTHER = tensors(1), tensors(2)
CONTENT = save(
    {f"own.{name}": value for name, value in OWN.items()}
    | {f"other.{name}": value for name, value in OTHER.items()}
)
WORDS = b'{"a": 1}'


@pytest.fixture
def hub():
    with serve() as running:
        running.repositories = {
            "toys/net": {"net.safetensors": CONTENT},
            "toys/words": {"words.json": WORDS},
            "toys/gated": {"net.safetensors": CONTENT},
        }
        running.direct = {"net.safetensors": CONTENT}
        running.gated = {"toys/gated"}
        running.moved = {"toys/renamed": "toys/net"}
        yield running


@pytest.fixture
def place(hub, tmp_path):
    """The environment of a user: own home, own caches, the hub of this machine."""
    about = tmp_path / "site" / "brainkit_fetched-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brainkit-fetched\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[brainkit]\nfetched = brainkit_fetched\n")
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ
    }
    return kept | {
        "PYTHONPATH": os.pathsep.join(
            [str(tmp_path / "site"), str(TOYS), os.environ.get("PYTHONPATH", "")]
        ),
        "BRAINKIT_PLUGINS": "fetched",
        "BRAINKIT_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HOME": str(tmp_path),
        "FETCHED_URL": hub.url,
        "NO_PROXY": "*",
        "OMP_NUM_THREADS": "1",
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "brainkit", *words]


def brainkit(place: dict[str, str], *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), env=place | more, capture_output=True, text=True, timeout=120, check=False
    )


def store(place: dict[str, str]) -> Path:
    return Path(place["BRAINKIT_HOME"]) / "checkpoints"


def written(place: dict[str, str], name: str) -> dict[str, np.ndarray]:
    return load_file(store(place) / name / "model.safetensors")


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    return found.keys() == wanted.keys() and all(
        np.array_equal(found[name], wanted[name]) for name in wanted
    )


def test_a_method_fetches_all_its_checkpoints_reading_a_shared_file_once(hub, place):
    done = brainkit(place, "fetch", "pair")
    assert done.returncode == 0, done.stderr
    assert same(written(place, "toy-net"), OWN)
    assert same(written(place, "toy-other"), OTHER)
    assert (store(place) / "toy-net" / "words.json").read_bytes() == WORDS
    assert len(hub.transfers("/storage/")) == 1
    record = json.loads((store(place) / "toy-net" / "source.json").read_text())
    assert (record["origin"], record["revision"], record["licence"]) == ("toys/net", COMMIT, "MIT")
    assert record["sources"]["net.safetensors"]["sha256"] == sha256(CONTENT).hexdigest()
    # Sizes and licences are told; a network of the scores that is not to be had stops nothing.
    assert re.search(r"toy-net +missing +\S+ kB +runs +MIT", done.stdout)
    assert f"from toys/net@{COMMIT[:12]}" in done.stdout
    assert "scores of clip-vit-l14 will be left out" in done.stderr
    before = len(hub.asked)
    again = brainkit(place, "fetch", "toy-net")
    assert again.returncode == 0
    assert "nothing to download" in again.stdout
    assert len(hub.asked) == before


def test_a_dry_run_tells_all_and_moves_nothing(hub, place):
    done = brainkit(place, "fetch", "pair", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "net.safetensors, " in done.stdout
    assert re.search(r"to download +\d", done.stdout)
    assert re.search(r"disk +\S+ kB needed in .*, \S+ GB free", done.stdout)
    assert {asked[0] for asked in hub.asked} == {"HEAD"}
    assert not store(place).exists()


def test_a_commit_that_is_gone_is_no_loss_where_the_hash_is_known(hub, place):
    digest = sha256(CONTENT).hexdigest()
    done = brainkit(place, "fetch", "toy-rewritten", "--dry-run", FETCHED_SHA256=digest)
    assert f"toys/net@{COMMIT[:12]}" in done.stdout
    other = brainkit(place, "fetch", "toy-rewritten", "--dry-run", FETCHED_SHA256="00" * 32)
    assert f"the SHA-256 {digest}, expected 00" in other.stdout


def test_a_tokenizer_that_was_lacking_is_fetched_later(hub, place, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(CONTENT)
    mine = str(tmp_path / "net.safetensors")
    done = brainkit(place, "fetch", "toy-net", "--from", mine, "--offline")
    assert done.returncode == 0, done.stderr
    assert "lacks words.json" in done.stdout
    assert "words.json is missing" in brainkit(place, "checkpoints", "toy-net").stdout
    again = brainkit(place, "fetch", "toy-net", "--from", mine)
    assert again.returncode == 0, again.stderr
    assert (store(place) / "toy-net" / "words.json").read_bytes() == WORDS
    assert brainkit(place, "checkpoints", "toy-net").returncode == 0


def test_everything_that_goes_wrong_is_told_in_one_message_and_the_rest_arrives(hub, place):
    done = brainkit(place, "fetch", "trouble")
    assert done.returncode == 1
    assert same(written(place, "toy-other"), OTHER)
    said = done.stderr
    assert "Traceback" not in said
    for message in (
        rf"toy-gated: toys/gated is given only to those .* at {hub.url}/toys/gated, .*HF_TOKEN",
        r"toy-gone: the hub has no repository toys/gone any more, or hides it",
        r"toy-no-file: toys/net has no file lost.safetensors any more",
        r"toy-no-commit: toys/net has no revision 0{40} any more",
        r"toy-exchanged: toys/net/net.safetensors on the hub has the SHA-256 \w{64}, expected 00ff",
        r"toy-by-hand: net.safetensors cannot be fetched by a program; open "
        r"https://example.invalid/drive",
    ):
        assert re.search(message, said), message


def test_a_token_opens_gated_files_and_is_shown_to_no_other_host(hub, place):
    refused = brainkit(place, "fetch", "toy-gated", HF_TOKEN="hf_without_rights")
    assert refused.returncode == 1
    assert "wait for access or use the token of the account that has it" in refused.stderr
    done = brainkit(place, "fetch", "toy-gated", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert same(written(place, "toy-gated"), OWN)
    assert "Gated terms" in done.stdout
    assert {asked[3] for asked in hub.asked if "/storage/" in asked[1]} == {None}


@pytest.mark.parametrize(("name", "told"), [("toy-alias", "toys/net@"), ("toy-renamed", "toys/")])
def test_ids_that_moved_are_followed(hub, place, name, told):
    done = brainkit(place, "fetch", name)
    assert done.returncode == 0, done.stderr
    assert same(written(place, name), OWN)
    assert told in done.stdout
    assert ("toys/alias moved to toys/net" in done.stdout) == (name == "toy-alias")
    assert not any("toys/alias" in asked[1] for asked in hub.asked)


def test_a_broken_transfer_goes_on_where_it_stopped(hub, place):
    hub.broken = 1
    done = brainkit(place, "fetch", "toy-other")
    assert done.returncode == 0, done.stderr
    assert same(written(place, "toy-other"), OTHER)
    first, second = hub.transfers("/storage/")
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) < len(CONTENT)


def heed_interrupts() -> None:
    """Undo what shells do to programs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("name", "how"), [("toy-newest", signal.SIGKILL), ("toy-direct", signal.SIGINT)]
)
def test_a_killed_download_goes_on_where_it_stopped(hub, place, name, how):
    hub.slow = threading.Event()
    with subprocess.Popen(
        command("fetch", name), env=place, stderr=subprocess.PIPE, preexec_fn=heed_interrupts
    ) as running:
        assert hub.half.wait(60)
        parts = []
        while not any(part.stat().st_size for part in parts):
            parts = list(Path(place["HOME"]).rglob("*.part"))
            time.sleep(0.02)
        os.kill(running.pid, how)
        said = running.stderr.read().decode()
    assert not list(store(place).rglob("model.safetensors"))
    if how == signal.SIGINT:
        assert running.returncode == 130
        assert "Stopped; run the same command again to go on from here." in said
    hub.slow.set()
    hub.slow = None
    done = brainkit(place, "fetch", name)
    assert done.returncode == 0, done.stderr
    assert same(written(place, name), OWN)
    assert "of it here already" in done.stdout
    assert hub.transfers("/storage/" if name == "toy-newest" else "/direct/")[-1] is not None
    assert not list(Path(place["HOME"]).rglob("*.part"))
    assert not (store(place) / "downloads").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read_serves_if_it_is_whole(hub, place):
    assert brainkit(place, "fetch", "toy-newest").returncode == 0
    folders = [store(place), *(path for path in store(place).rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    for lock in store(place).glob(".*lock"):
        lock.chmod(0o444)
    try:
        again = brainkit(place, "fetch", "toy-newest")
        assert again.returncode == 0, again.stderr
        refused = brainkit(place, "fetch", "toy-direct")
        assert refused.returncode == 1
        assert ".lock cannot be written: Permission denied; check the rights" in refused.stderr
        assert refused.stderr.rstrip().endswith("with --checkpoints")
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_wrong_hash_is_told_with_both_and_nothing_is_kept(hub, place):
    done = brainkit(place, "fetch", "toy-wrong")
    assert done.returncode == 1
    assert f"the SHA-256 {sha256(CONTENT).hexdigest()}, expected 00ff00ff" in done.stderr
    assert not [path for path in store(place).rglob("*") if "net.safetensors" in path.name]


def test_offline_takes_what_the_cache_has_and_otherwise_says_what_to_copy(hub, place):
    cold = brainkit(place, "fetch", "toy-newest", "--offline")
    assert cold.returncode == 1
    assert "does not have net.safetensors of toys/net" in cold.stderr
    assert "copy its checkpoint store" in cold.stderr
    assert brainkit(place, "fetch", "toy-newest").returncode == 0
    asked = len(hub.asked)
    elsewhere = str(Path(place["HOME"]) / "elsewhere")
    warm = brainkit(place, "fetch", "toy-newest", "--checkpoints", elsewhere, HF_HUB_OFFLINE="1")
    assert warm.returncode == 0, warm.stderr
    assert same(load_file(Path(elsewhere) / "toy-newest" / "model.safetensors"), OWN)
    # A cache that a program filled under the id of old is used as well.
    models = Path(place["HF_HOME"]) / "hub"
    (models / "models--toys--net").rename(models / "models--toys--alias")
    old = brainkit(place, "fetch", "toy-alias", "--offline", "--dry-run")
    assert re.search(r"net.safetensors, \S+ kB, here already", old.stdout), old.stdout
    assert len(hub.asked) == asked


def test_a_hub_that_is_down_is_one_sentence(hub, place):
    done = brainkit(place, "fetch", "pair", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.count("127.0.0.1:9 cannot be reached") == 2  # needed ones, and scores'
    assert "toy-net, toy-other: 127.0.0.1:9 cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_origin_can_be_chosen(hub, place):
    none = brainkit(place, "fetch", "toy-gone", "--origin", "3")
    assert none.returncode == 2
    assert "toy-gone has 1: net.safetensors of toys/gone, 2: net" in none.stderr
    done = brainkit(place, "fetch", "toy-gone", "--origin", "2")
    assert done.returncode == 0, done.stderr
    assert same(written(place, "toy-gone"), OWN)


def test_files_the_user_has_are_converted_without_a_connection(hub, place, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "net.safetensors").write_bytes(CONTENT)
    (mine / "words.json").write_bytes(WORDS)
    there = store(place) / "clip-vit-l14"
    there.mkdir(parents=True)
    (there / "model.safetensors").write_bytes(save({"a": np.zeros(1, np.float32)}))
    (there / "config.json").write_text("{}")
    done = brainkit(place, "fetch", "pair", "--from", str(mine))
    assert done.returncode == 0, done.stderr
    assert same(written(place, "toy-net"), OWN)
    assert same(written(place, "toy-other"), OTHER)
    assert hub.asked == []
    again = brainkit(place, "fetch", "pair", "--from", str(mine))
    assert "nothing is missing" in again.stdout
    by_name = brainkit(place, "fetch", "toy-by-hand", "--from", str(mine / "net.safetensors"))
    assert by_name.returncode == 0, by_name.stderr
    assert same(written(place, "toy-by-hand"), OWN)


def test_files_that_are_not_the_published_ones_are_told(hub, place, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(CONTENT)
    done = brainkit(place, "fetch", "toy-wrong", "--from", str(tmp_path / "net.safetensors"))
    assert done.returncode == 0, done.stderr
    assert "net.safetensors is not the published file, whose SHA-256 begins 00ff00ff" in done.stdout


def test_files_of_another_network_are_refused_with_every_difference(hub, place):
    done = brainkit(place, "fetch", "toy-unfit")
    assert done.returncode == 1
    assert "toy-unfit" in done.stderr
    assert not (store(place) / "toy-unfit").exists()


def test_two_fetches_at_once_both_end_well(hub, place):
    hub.slow = threading.Event()
    both = [
        subprocess.Popen(command("fetch", "toy-other"), env=place, stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    assert hub.half.wait(60)
    time.sleep(1)
    hub.slow.set()
    said = [running.communicate(timeout=120) for running in both]
    assert [running.returncode for running in both] == [0, 0], said
    assert sum("waiting for it" in errors for _, errors in said) == 1
    assert sum("nothing to download" in text for text, _ in said) == 1
    assert len(hub.transfers("/storage/")) == 1
    assert same(written(place, "toy-other"), OTHER)


def test_a_fetch_killed_while_converting_leaves_nothing_half_and_the_next_ends_well(hub, place):
    assert brainkit(place, "fetch", "toy-newest", "--dry-run").returncode == 0
    with subprocess.Popen(
        command("fetch", "toy-newest"), env={**place, "TOY_PAUSE": "60"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        for line in running.stderr:
            if line.startswith("checking"):
                break
        os.kill(running.pid, signal.SIGKILL)
    assert not (store(place) / "toy-newest" / "model.safetensors").exists()
    half = store(place) / "toy-newest.part"  # as a kill at a later moment leaves it
    half.mkdir(exist_ok=True)
    (half / "model.safetensors").write_bytes(b"half")
    told = json.loads(brainkit(place, "checkpoints", "--json").stdout)
    assert [Path(each["path"]).name for each in told["leftovers"]] == ["toy-newest.part"]
    done = brainkit(place, "fetch", "toy-newest")
    assert done.returncode == 0, done.stderr
    assert same(written(place, "toy-newest"), OWN)
    assert not half.exists()
    assert len(hub.transfers("/storage/")) == 1  # the download was whole


def test_misspelt_names_and_options_that_exclude_each_other_are_wrong_usage(place):
    done = brainkit(place, "fetch", "toy-nett")
    assert done.returncode == 2
    assert "Did you mean 'toy-net'?" in done.stderr
    assert brainkit(place, "fetch", "pair", "--config", "x.json").returncode == 2


def test_checkpoints_tells_what_is_there_missing_and_damaged(hub, place):
    assert brainkit(place, "fetch", "pair").returncode == 0
    for name in ("toy-alias", "toy-gated", "stray"):
        (store(place) / name).mkdir()
    weights = (store(place) / "toy-other" / "model.safetensors").read_bytes()
    (store(place) / "toy-alias" / "model.safetensors").write_bytes(weights)
    (store(place) / "toy-alias" / "config.json").write_text("{}")
    (store(place) / "toy-gated" / "model.safetensors").write_bytes(weights[:-8])
    (store(place) / "toy-gated" / "config.json").write_text("{}")
    (store(place) / "stray" / "note.txt").write_text("1234")
    swapped = bytearray(weights)
    swapped[-1] ^= 1
    (store(place) / "toy-other" / "model.safetensors").write_bytes(swapped)

    cheap = brainkit(place, "checkpoints", "--json")
    found = json.loads(cheap.stdout)
    words = {each["name"]: each["state"] for each in found["checkpoints"]}
    assert cheap.returncode == 1
    assert words["toy-net"] == words["toy-other"] == "whole"
    assert words["toy-alias"] == "placed by hand"
    assert words["toy-gated"] == "damaged"
    # The last is one that only a training loads, listed beside the releases.
    assert {words[f"toy-{name}"] for name in ("gone", "unpublished", "trained")} == {"missing"}
    assert [Path(each["path"]).name for each in found["leftovers"]] == ["stray"]
    sizes = {each["name"]: each["size"] for each in found["checkpoints"]}
    here = [path for path in (store(place) / "toy-net").iterdir() if path.is_file()]
    assert sizes["toy-net"] == sum(path.stat().st_size for path in here)

    verified = brainkit(place, "checkpoints", "pair", "--verify")
    assert verified.returncode == 1
    assert "model.safetensors has another content than was written" in verified.stdout
    assert "reading toy-other, " in verified.stderr
    assert re.search(r"toy-net +whole", verified.stdout)
    assert "toy-gone" not in verified.stdout
    assert brainkit(place, "checkpoints", "toy-net", "--verify").returncode == 0
    facts = FileFacts.of(store(place) / "toy-net" / "model.safetensors")
    record = json.loads((store(place) / "toy-net" / "source.json").read_text())
    assert record["files"]["model.safetensors"] == {"size": facts.size, "sha256": facts.sha256}
