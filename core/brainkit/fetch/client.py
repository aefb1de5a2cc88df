"""The one way to servers: a client of the kind that the hub's library asks its questions with.

Proxies (HTTP and SOCKS), NO_PROXY and certificates are so the same for questions and for bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from brainkit.errors import CheckpointError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""


class UnreachableError(CheckpointError):
    """A server cannot be reached at all."""


class StatusError(Exception):
    """A server's refusal.

    Attributes:
        code: of HTTP, from 400 on.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"HTTP status {code}")
        self.code = code


class BrokenError(Exception):
    """A connection that was not made, or broke; the message says how."""


@contextmanager
def opened(method: str, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Make a request and yield the response, whose body is read while the block runs.

    Redirects are followed; a token in the headers is shown to no other host.

    Raises:
        StatusError: the server refuses.
        BrokenError: it is not to be reached, or the connection breaks.
        UnreachableError: the proxy of the environment cannot be used.
    """
    http, client = _client()
    try:
        with client.stream(method, url, headers=dict(headers or {})) as response:
            if response.status_code >= 400:
                raise StatusError(response.status_code)
            yield response
    except (http.RequestError, http.InvalidURL, http.StreamError) as error:
        raise BrokenError(str(error) or type(error).__name__) from error


@cache
def _client() -> tuple[ModuleType, Any]:
    """Return the library that the hub's uses for HTTP, and a client of it."""
    from huggingface_hub import get_session

    try:
        kind = next(each for each in type(get_session()).__mro__ if each.__name__ == "Client")
        http = import_module(kind.__module__.partition(".")[0])
        # What is packed on its way could not go on in its middle.
        plain = {"Accept-Encoding": "identity"}
        return http, http.Client(follow_redirects=True, timeout=TIMEOUT, headers=plain)
    except (ImportError, ValueError) as error:
        raise unusable_proxy(error) from error


def unusable_proxy(error: BaseException) -> UnreachableError:
    """Return the error for a proxy that the client cannot go through."""
    remedy = (
        "install socksio (`pip install socksio`)"
        if isinstance(error, ImportError)
        else "give it as http://HOST:PORT or socks5h://HOST:PORT"
    )
    return UnreachableError(
        f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({error}); {remedy}, or "
        "give the files with --from PATH"
    )
