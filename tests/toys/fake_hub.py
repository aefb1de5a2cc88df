"""A server on this machine that answers as the Hugging Face hub and a plain file server do."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0ff"
TOKEN = "hf_of_the_test"


@dataclass
class Hub:
    """What is published, what goes wrong, and what was asked.

    Attributes:
        repositories: id -> path -> content; contents of 1000 bytes and more are in large storage.
        direct: path -> content of files outside the hub.
        moved: old id -> new id, told by a redirect.
        gated: ids that need TOKEN.
        broken: how many more transfers stop half way.
        slow: an event that transfers wait for half way.
        asked: (method, path, Range, whether a token was shown) of every request.
    """

    url: str = ""
    repositories: dict = field(default_factory=dict)
    direct: dict = field(default_factory=dict)
    moved: dict = field(default_factory=dict)
    gated: set = field(default_factory=set)
    broken: int = 0
    ranges: bool = True
    slow: threading.Event | None = None
    half: threading.Event = field(default_factory=threading.Event)
    asked: list = field(default_factory=list)

    def transfers(self, name: str) -> list:
        """Return the Range headers of the requests for a content."""
        return [asked[2] for asked in self.asked if asked[0] == "GET" and name in asked[1]]

    def stored(self, digest: str) -> bytes | None:
        contents = [each for files in self.repositories.values() for each in files.values()]
        return next((each for each in contents if sha256(each).hexdigest() == digest), None)


@contextmanager
def serve():
    """Run the server while the block runs."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        if hub.slow:
            hub.slow.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        token = self.headers.get("Authorization")
        self.state.asked.append((self.command, self.path, self.headers.get("Range"), token))
        found = re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", self.path)
        if found:
            return self._resolve(*found.groups(), token)
        if self.path.startswith("/storage/"):
            content = self.state.stored(self.path.rpartition("/")[2])
        else:
            content = self.state.direct.get(self.path.removeprefix("/direct/"))
        if content is None:
            return self._status(404)
        return self._send(content, {"ETag": f'"{sha1(content).hexdigest()[:12]}"'})

    def _resolve(self, repository, revision, path, token):
        hub = self.state
        if repository in hub.moved:
            place = f"/{hub.moved[repository]}/resolve/{revision}/{path}"
            return self._status(307, {"Location": place})
        if repository not in hub.repositories:
            return self._status(401, {"X-Error-Code": "RepoNotFound"})
        if repository in hub.gated and token != f"Bearer {TOKEN}":
            return self._status(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        if revision not in ("main", COMMIT):
            return self._status(404, {"X-Error-Code": "RevisionNotFound"})
        if path not in hub.repositories[repository]:
            return self._status(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = hub.repositories[repository][path]
        facts = {"X-Repo-Commit": COMMIT}
        if len(content) < 1000:
            git = sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._send(content, {**facts, "ETag": f'"{git}"'})
        digest = sha256(content).hexdigest()
        facts |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        # The storage is another host, which must not see the token.
        other = self.state.url.replace("127.0.0.1", "localhost")
        return self._status(302, {**facts, "Location": f"{other}/storage/{digest}"})

    def _status(self, code, headers=()):
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content, headers):
        start, hub = self._start(headers), self.state
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = content[start:]
        if len(content) < 1000 or not (hub.broken or hub.slow):
            self.wfile.write(rest)
            return
        self.wfile.write(rest[: len(rest) // 2])
        self.wfile.flush()
        hub.half.set()
        if hub.broken:
            hub.broken -= 1
            self.close_connection = True
            return
        hub.slow.wait(60)
        self.wfile.write(rest[len(rest) // 2 :])

    def _start(self, headers):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        other = self.headers.get("If-Range", headers["ETag"]) != headers["ETag"]
        return int(asked[1]) if asked and self.state.ranges and not other else 0
