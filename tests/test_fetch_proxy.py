"""Bytes take the way that questions take: the proxies of the environment, HTTP and SOCKS."""

from __future__ import annotations

import http.client
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fake_hub import COMMIT, Hub, serve
from huggingface_hub import get_hf_file_metadata
from huggingface_hub.utils import close_session

from brainkit.errors import CheckpointError
from brainkit.fetch import client, hub
from brainkit.fetch.download import Remote, download, remote_size
from brainkit.weights import Origin, RemoteFile

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server() -> Iterator[Hub]:
    with serve() as running:
        running.direct = {"file.pth": CONTENT}
        yield running


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment without any proxy; clients are made anew before and after."""
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    client._client.cache_clear()
    close_session()
    yield monkeypatch
    client._client.cache_clear()
    close_session()


class Forward(BaseHTTPRequestHandler):
    """A plain HTTP proxy that knows one server, whatever its name."""

    seen: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        self.seen.append(f"{self.command} {asked.hostname}{asked.path}")
        connection = http.client.HTTPConnection("127.0.0.1", asked.port or 80)
        connection.request(self.command, asked.path)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()


@pytest.fixture
def forward() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Forward,), {"seen": seen}))
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}", seen
    running.shutdown()
    running.server_close()


def elsewhere(server: Hub) -> str:
    """Return the server's address by a name that only a proxy knows."""
    return f"http://hub.invalid:{server.url.rpartition(':')[2]}/direct/file.pth"


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
def test_questions_and_bytes_take_the_same_http_proxy(name, server, proxies, forward, tmp_path):
    address, seen = forward
    proxies.setenv(name, address)
    proxies.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    url = elsewhere(server)
    assert remote_size(url) == len(CONTENT)
    assert download(Remote(url), tmp_path / "file.pth").read_bytes() == CONTENT
    with pytest.raises(Exception):  # noqa: B017 (the plain file has no commit; it is asked)
        get_hf_file_metadata(url.replace("direct", f"toys/net/resolve/{COMMIT}"))
    assert [each.partition("/")[0] for each in seen] == [
        "HEAD hub.invalid",
        "GET hub.invalid",
        "HEAD hub.invalid",
    ]


def test_hosts_that_need_no_proxy_are_asked_themselves(server, proxies, forward, tmp_path):
    address, seen = forward
    proxies.setenv("ALL_PROXY", address)
    proxies.setenv("NO_PROXY", "127.0.0.1")
    url = f"{server.url}/direct/file.pth"
    assert download(Remote(url), tmp_path / "file.pth").read_bytes() == CONTENT
    assert seen == []


UNUSABLE = {
    "socks4://127.0.0.1:9": "give it as http://HOST:PORT or socks5h://HOST:PORT",
    "socks5h://127.0.0.1:9": "pip install socksio",
}


@pytest.mark.parametrize("address", UNUSABLE)
def test_a_proxy_that_cannot_be_used_is_told_by_the_first_question(address, proxies, tmp_path):
    proxies.setenv("ALL_PROXY", address)
    # As it is where nobody installed it.
    proxies.setitem(sys.modules, "socksio", None)
    proxies.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    words = (
        f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used .*{UNUSABLE[address]}"
    )
    origin = Origin((RemoteFile("a"),), "MIT", repository="toys/net")
    for asking in (
        lambda: hub.find(origin, connect=True),
        lambda: remote_size("http://hub.invalid/a"),
        lambda: download(Remote("http://hub.invalid/a"), tmp_path / "a"),
    ):
        with pytest.raises(CheckpointError, match=words):
            asking()


def socks(seen: list[tuple[str, int]]) -> tuple[socket.socket, str]:
    """Run a SOCKS5 proxy that connects any name to this machine."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with target:
            while data := source.recv(1 << 16):
                target.sendall(data)

    def serve_one(asking: socket.socket) -> None:
        asking.recv(asking.recv(2)[1])
        asking.sendall(b"\x05\x00")
        asking.recv(4)
        host = asking.recv(asking.recv(1)[0]).decode()
        (port,) = struct.unpack(">H", asking.recv(2))
        seen.append((host, port))
        there = socket.create_connection(("127.0.0.1", port))
        asking.sendall(b"\x05\x00\x00\x01" + bytes(6))
        threading.Thread(target=pump, args=(asking, there), daemon=True).start()
        pump(there, asking)

    def accept() -> None:
        while True:
            try:
                asking, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(asking,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener, f"socks5h://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(
    find_spec("socksio") is None,
    reason="pip install socksio: no SOCKS proxy works without it, as the test above has it",
)
def test_questions_and_bytes_take_a_socks_proxy_which_finds_hosts(server, proxies, tmp_path):
    seen: list[tuple[str, int]] = []
    listener, address = socks(seen)
    proxies.setenv("ALL_PROXY", address)
    url = elsewhere(server)
    with listener:
        path: Path = download(Remote(url), tmp_path / "file.pth")
        assert remote_size(url) == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert {host for host, _ in seen} == {"hub.invalid"}


def test_questions_and_bytes_wait_equally_long(proxies):
    """The way out accepts every connection and never says a word."""
    proxies.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for module in (client, hub):
        proxies.setattr(module, "TIMEOUT", 0.2)
    origin = Origin((RemoteFile("a"),), "MIT", repository="toys/net")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxies.setenv("ALL_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for asking in (
            lambda: hub.find(origin, connect=True),
            lambda: remote_size("http://hub.invalid/a"),
        ):
            began = time.monotonic()
            with pytest.raises(CheckpointError, match="cannot be reached"):
                asking()
            # The library's own patience is ten seconds.
            assert time.monotonic() - began < 8
