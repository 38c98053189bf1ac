"""HTTP requests with urllib3: proxies from the environment, redirects that never leave https, undecoded bytes."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3

from fgvc_cli import __version__

_REDIRECTS = 10
_CHUNK = 1 << 20
_RETRYABLE = (408, 425, 429, 500, 502, 503, 504)
# identity: if a server or client changes the encoding, the bytes are not those of the checksum
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"fgvc/{__version__}"}


class TryAgain(Exception):
    """An attempt failed, but a retry may succeed. `wait`: seconds that the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


class GivenUp(Exception):
    """An address does not serve the file, and a retry would not help. The message continues after the host's name."""


@contextmanager
def open_url(url: str, headers: dict[str, str], seconds: tuple[float, float]) -> Iterator[urllib3.BaseHTTPResponse]:
    """The response to a GET, status 200, 206 or 416, its body unread. `seconds`: timeouts to connect and to read.

    GivenUp for a permanent failure, TryAgain or urllib3's HTTPError for one where a retry may succeed.
    """
    timeout = urllib3.Timeout(connect=seconds[0], read=seconds[1])
    for _ in range(_REDIRECTS):
        pool = _pool(url)
        response = pool.request(
            "GET",
            url,
            headers=_HEADERS | headers,
            timeout=timeout,
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
        )
        try:
            target = response.get_redirect_location()
            if not target:
                _check_response(response)
                yield response
                return
            url = _redirected(url, target)
        finally:
            response.close()
            pool.clear()
    raise GivenUp(f"redirects more than {_REDIRECTS} times")


def body(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body's bytes as they arrive, in pieces of up to a megabyte."""
    while chunk := response.read1(_CHUNK, decode_content=False):
        yield chunk


def host_of(url: str) -> str:
    """The server's name in an address."""
    return urllib.parse.urlsplit(url).hostname or url


def what_failed(error: Exception) -> str:
    """Why an attempt failed, in words that follow the host's name."""
    kinds = urllib3.exceptions
    if isinstance(error, TryAgain):
        return str(error)
    if isinstance(error, kinds.NameResolutionError):
        return "is not found (is this machine connected?)"
    if isinstance(error, kinds.ConnectTimeoutError | kinds.NewConnectionError | kinds.ProxyError):
        return "cannot be reached (is this machine connected, is a proxy needed?)"
    if isinstance(error, kinds.ReadTimeoutError):
        return "stopped sending"
    if isinstance(error, kinds.SSLError):
        return f"has no certificate that this machine trusts ({error})"
    if isinstance(error, kinds.ProtocolError):
        return "broke the connection"
    return f"failed ({str(error) or type(error).__name__})"


def _pool(url: str) -> urllib3.PoolManager:
    """Connections through the proxy that the environment sets for this address, if any."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager()
    return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}")


def _redirected(url: str, target: str) -> str:
    """The address a redirect leads to. GivenUp if it leaves https: plain http can be read and changed in transit."""
    moved = urllib.parse.urljoin(url, target)
    scheme = urllib.parse.urlsplit(moved).scheme
    if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
        raise GivenUp(f"redirects from https to {scheme} ({moved}), which is not followed")
    return moved


def _check_response(response: urllib3.BaseHTTPResponse) -> None:
    """Raise GivenUp or TryAgain for a response that does not serve a file."""
    status = response.status
    if status in _RETRYABLE:
        wait = response.headers.get("Retry-After", "")
        raise TryAgain(f"answers {status} {response.reason or ''}".strip(), float(wait) if wait.isdecimal() else 0)
    if status not in (200, 206, 416):
        raise GivenUp(f"answers {status} {response.reason or ''}".strip())
    if status == 200 and response.headers.get("Content-Type", "").startswith("text/html"):
        raise GivenUp("sends a web page instead of the file (is a login or a consent needed?)")
