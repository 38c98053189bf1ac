"""Who may ask, and what browsers may do with the answers: host, origin and token are checked before anything else.

A page of another site cannot read from or write to the server: not under a name of its own that leads here (DNS
rebinding; the Host header is checked), not from its own origin (the Origin header is checked and nothing is shared),
not in a frame.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgvc_cli.serve.problems import BAD, FORBIDDEN, NO_TOKEN, Problem

_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_READING = ("GET", "HEAD")


@dataclass(frozen=True)
class Guard:
    """The app behind its checks.

    Args:
        app: what answers the requests that pass.
        loopback: whether the server listens on this machine alone: then no address but those of it is a host's.
        names: names that a Host header may have, besides `localhost` and addresses.
        token: what clients must show; None: nothing.
        port: of the server; cookies of two servers have two names.
    """

    app: ASGIApp
    loopback: bool = True
    names: frozenset[str] = field(default_factory=frozenset)
    token: str | None = None
    port: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            answer = self._admit(scope)
        except Problem as problem:
            answer = JSONResponse({"error": str(problem)}, problem.status)
        try:
            await (answer or self.app)(scope, receive, send_with_headers)
        except Exception:  # Starlette raises it again after its answer, and uvicorn would end the connection for it
            if not started:
                raise

    def _admit(self, scope: Scope) -> Response | None:
        """None: the request passes. Problem if it is refused."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(host_of(hosts[0])):
            raise Problem("the Host header names another machine (--allow-host NAME allows a name)", BAD)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise Problem("requests of pages of other sites are refused", FORBIDDEN)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _is_visit(scope, headers):
            raise Problem("requests of pages of other sites are refused", FORBIDDEN)
        return None if self.token is None else self._check_token(scope, headers, self.token)

    def _is_ours(self, host: str) -> bool:
        if host == "localhost" or host in self.names:
            return True
        try:
            address = ipaddress.ip_address(host)  # a page of another site has a name
        except ValueError:
            return False
        return address.is_loopback or not self.loopback

    def _check_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """A visitor that shows the token in the page's address gets a cookie, and an address without it."""
        cookie = f"fgvc-{self.port}"
        shown = QueryParams(scope.get("query_string", b"").decode("latin-1")).get("token")
        if scope["path"] == "/" and shown is not None and _same(shown, token):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if _same(bearer, token) or _same(_cookie(headers, cookie), token):
            return None
        raise Problem(
            "the token is missing: open the address that `fgvc serve` printed, or send it as Bearer", NO_TOKEN
        )


def host_of(header: str) -> str:
    """The host that a Host header names, without the port and the brackets of an address."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link to the page."""
    return scope["method"] in _READING and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""
