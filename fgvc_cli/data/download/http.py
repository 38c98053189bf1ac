"""What fgvc wants of HTTP, on urllib3: proxies of the environment, redirects that never leave https, raw bytes."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3

from fgvc_cli import __version__

_REDIRECTS = 10
_CHUNK = 1 << 20
_WORTH_ANOTHER = (408, 425, 429, 500, 502, 503, 504)
# identity: a server that packs, or a client that unpacks on the way, gives other bytes than the checksum is of
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"fgvc/{__version__}"}


class TryAgain(Exception):
    """An attempt failed in a way that another one may not. `wait`: seconds the server asks for."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


class GivenUp(Exception):
    """An address does not serve the file, and asking again would not help. Reads on after the host's name."""


@contextmanager
def open_url(url: str, headers: dict[str, str], seconds: tuple[float, float]) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answer to a GET, its body unread: 200, 206 or 416. `seconds`: to connect, and without a byte.

    GivenUp for an answer that will stay the same, TryAgain or urllib3's HTTPError for one that may not.
    """
    timeout = urllib3.Timeout(connect=seconds[0], read=seconds[1])
    for _ in range(_REDIRECTS):
        pool = _pool(url)
        answer = pool.request(
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
            target = answer.get_redirect_location()
            if not target:
                _refuse(answer)
                yield answer
                return
            url = _redirected(url, target)
        finally:
            answer.close()
            pool.clear()
    raise GivenUp("redirects in a circle")


def body(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body's bytes as they come, in pieces of up to a megabyte."""
    while chunk := answer.read1(_CHUNK, decode_content=False):
        yield chunk


def host_of(url: str) -> str:
    """The server's name in an address."""
    return urllib.parse.urlsplit(url).hostname or url


def what_failed(error: Exception) -> str:
    """An attempt's failure in words that follow the host's name."""
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
    """Connections by way of the proxy that the environment names for this address, if any."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager()
    return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}")


def _redirected(url: str, target: str) -> str:
    """Where a redirect leads. GivenUp if it leaves https: nobody on the way may read or change what arrives."""
    moved = urllib.parse.urljoin(url, target)
    scheme = urllib.parse.urlsplit(moved).scheme
    if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
        raise GivenUp(f"redirects from https to {scheme} ({moved}), which is not followed")
    return moved


def _refuse(answer: urllib3.BaseHTTPResponse) -> None:
    """GivenUp or TryAgain for what is no answer to a request for a file."""
    status = answer.status
    if status in _WORTH_ANOTHER:
        wait = answer.headers.get("Retry-After", "")
        raise TryAgain(f"answers {status} {answer.reason or ''}".strip(), float(wait) if wait.isdecimal() else 0)
    if status not in (200, 206, 416):
        raise GivenUp(f"answers {status} {answer.reason or ''}".strip())
    if status == 200 and answer.headers.get("Content-Type", "").startswith("text/html"):
        raise GivenUp("sends a web page instead of the file (is a login or a consent needed?)")
