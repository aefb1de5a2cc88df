"""Downloads from a server on this machine: whole, resumed, refused; disks; leftovers."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from hashlib import sha1, sha256
from pathlib import Path

import pytest
from fake_hub import serve

from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.fetch import check_disks, plan, text
from brainkit.fetch.download import Remote, begun, download
from brainkit.fetch.hub import MOVED, moved, names
from brainkit.fetch.inventory import leftovers
from brainkit.fetch.known import Known
from brainkit.weights import Origin, Release, RemoteFile

CONTENT = bytes(range(256)) * 40
QUICK = (0.0, 0.0)


@pytest.fixture
def server():
    with serve() as running:
        running.direct = {"file.pth": CONTENT}
        yield running


def remote(server, **facts) -> Remote:
    return Remote(f"{server.url}/direct/file.pth", **facts)


def test_a_file_arrives_whole_and_progress_counts_its_bytes(server, tmp_path):
    told = []
    path = download(
        remote(server, size=len(CONTENT), sha256=sha256(CONTENT).hexdigest()[:8]),
        tmp_path / "below" / "file.pth",
        lambda done, total: told.append((done, total)),
    )
    assert path.read_bytes() == CONTENT
    assert sorted(told) == told
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [each.name for each in path.parent.iterdir()] == ["file.pth"]


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    (tmp_path / "file.pth").write_bytes(b"whole")
    download(remote(server), tmp_path / "file.pth")
    assert server.asked == []


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_transfers_go_on_also_where_ranges_are_not_served(server, tmp_path, ranges):
    server.broken, server.ranges = 2, ranges
    path = download(remote(server), tmp_path / "file.pth", pauses=QUICK)
    assert path.read_bytes() == CONTENT
    starts = [int(each[6:-1]) for each in server.transfers("file.pth") if each]
    assert starts == sorted(set(starts)) or not ranges
    assert len(server.transfers("file.pth")) == 3


def test_a_file_exchanged_between_two_transfers_is_not_mixed_with_its_half(server, tmp_path):
    server.broken = 1
    part = tmp_path / "file.pth.part"

    def exchange(done, total):
        if part.is_file() and 0 < part.stat().st_size < len(CONTENT):
            server.direct["file.pth"] = CONTENT[::-1]

    path = download(remote(server), tmp_path / "file.pth", exchange, pauses=QUICK)
    assert path.read_bytes() in (CONTENT, CONTENT[::-1])


def test_halves_of_an_unknown_file_are_not_trusted_and_longer_ones_neither(server, tmp_path):
    (tmp_path / "file.pth.part").write_bytes(b"of something else")
    assert download(remote(server), tmp_path / "file.pth").read_bytes() == CONTENT
    (tmp_path / "again.pth.part").write_bytes(CONTENT + b"and more")
    facts = {"size": len(CONTENT), "sha256": sha256(CONTENT).hexdigest()}
    assert download(remote(server, **facts), tmp_path / "again.pth").read_bytes() == CONTENT


def test_a_half_of_the_right_file_is_used(server, tmp_path):
    (tmp_path / "file.pth.part").write_bytes(CONTENT[:4000])
    assert begun(tmp_path / "file.pth") == 4000
    facts = {"sha256": sha256(CONTENT).hexdigest()}
    assert download(remote(server, **facts), tmp_path / "file.pth").read_bytes() == CONTENT
    assert server.transfers("file.pth") == ["bytes=4000-"]


def test_a_wrong_half_is_found_by_the_hash_and_thrown_away(server, tmp_path):
    (tmp_path / "file.pth.part").write_bytes(b"x" * 4000)
    facts = {"sha256": sha256(CONTENT).hexdigest()}
    with pytest.raises(CheckpointError, match=f"expected {facts['sha256']}, so nothing was kept"):
        download(remote(server, **facts), tmp_path / "file.pth")
    assert list(tmp_path.iterdir()) == []


def test_the_hash_that_git_gives_is_checked(server, tmp_path):
    git = sha1(b"blob 10240\0" + CONTENT).hexdigest()
    assert download(remote(server, git=git), tmp_path / "file.pth").is_file()
    with pytest.raises(CheckpointError, match=f"the git hash {git}, expected 00"):
        download(remote(server, git="00" * 20), tmp_path / "other.pth")


def test_another_size_than_published_is_refused_before_anything_is_kept(server, tmp_path):
    with pytest.raises(CheckpointError, match="has 10240 bytes, expected 4"):
        download(remote(server, size=4), tmp_path / "file.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_told(server, tmp_path):
    server.direct = {}
    with pytest.raises(CheckpointError, match=r"answered 404: http.*file.pth is not there any"):
        download(remote(server), tmp_path / "file.pth")


def test_a_server_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1:9 cannot be reached"):
        download(Remote("http://127.0.0.1:9/file.pth"), tmp_path / "file.pth", pauses=QUICK)


def test_a_disk_that_fills_up_is_told(server, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full to write to")
    (tmp_path / "file.pth.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left.*make room"):
        download(remote(server), tmp_path / "file.pth")


def known(monkeypatch, server, size=0) -> Known:
    """A checkpoint of this module, published on the server."""
    origin = Origin((RemoteFile("file.pth", size),), "MIT", url=f"{server.url}/direct")
    release = Release("mine", (origin,))
    monkeypatch.setattr(sys.modules[__name__], "MINE", release, raising=False)
    sys.modules.setdefault("test_fetch_download", sys.modules[__name__])
    return Known(Checkpoint("mine", release="test_fetch_download:MINE"))


def disk(monkeypatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**12, 0, free))


def test_a_full_disk_is_refused_with_the_numbers_before_a_byte_is_moved(
    server, tmp_path, monkeypatch
):
    planned = plan([known(monkeypatch, server, size=3 * 10**9)], tmp_path / "store")
    disk(monkeypatch, 5 * 10**9)
    # The download and what is made of it: twice 3 GB.
    with pytest.raises(CheckpointError, match=r"has 5.0 GB free, but 6.0 GB are needed"):
        check_disks(planned)
    assert "6.0 GB needed" in text(planned)
    disk(monkeypatch, 7 * 10**9)
    check_disks(planned)
    assert server.asked == []


def test_sizes_nobody_published_are_asked_of_the_server(server, tmp_path, monkeypatch):
    planned = plan([known(monkeypatch, server)], tmp_path / "store")
    assert planned.found[0].sizes == (len(CONTENT),)
    assert [asked[0] for asked in server.asked] == ["HEAD"]


def test_leftovers_tell_strays_from_downloads_that_go_on(tmp_path):
    for name in ("known/model.safetensors", "stray/file", "known.part/model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1234")
    downloads = tmp_path / "downloads" / "host"
    downloads.mkdir(parents=True)
    for name in ("a.pth.part", "a.pth.part.etag", "b.pth"):
        (downloads / name).write_bytes(b"12")
    (tmp_path / ".lock").touch()
    found = {each.path.name: (each.size, each.why) for each in leftovers(tmp_path, ["known"])}
    assert set(found) == {"stray", "known.part", "a.pth.part", "b.pth"}
    assert found["stray"][0] == 4
    assert "stopped" in found["known.part"][1]
    assert "goes on" in found["a.pth.part"][1]


def test_no_id_moved_to_one_that_moved_on():
    assert {new for new in MOVED.values() if moved(new) != new} == set()
    for old, new in MOVED.items():
        assert names(old) == names(new)
        assert old in names(new)
