"""ASGI middleware that checks every request: proxy address, host name, origin and login.

Streamlit itself serves every client that reaches its port, so this wraps the whole application, also websockets and
images. Requests from other sites are refused. On 127.0.0.1 requests under another host name are refused too: otherwise
a page on the internet could read this one through the user's browser.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import parse_qs, quote, unquote, urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.reporting.html import visible
from web.auth.clients import LOOPBACK, Network, client, peer, scheme, within
from web.auth.logins import LIFETIME_S, Login, Logins
from web.auth.password import LoginThrottle, verify_password
from web.auth.response_headers import BROWSER_COOKIE, with_security_headers

LOGIN_COOKIE = "scanmill"
USER_HEADER = "x-scanmill-user"  # set here for the pages; a value sent by the client is dropped
MAX_FORM_BYTES = 4096
FORM_TIMEOUT_S = 10.0  # from the headers to the end of the form
MAX_HASHES = 2  # passwords hashed at once: 32 MiB and about 0.1 s of a core each
_CLOSED = {"code": 1008, "reason": "log in first"}


@dataclass(frozen=True)
class AccessRules:
    """Who may access the page. `password` is a hash or None; `hosts` are the accepted host names, None for any.

    `user_header` names the header in which an authenticating proxy sends the user's name. If it is set, only the
    addresses in `proxies` may connect.
    """

    password: str | None = None
    hosts: tuple[str, ...] | None = None
    user_header: str | None = None
    proxies: Sequence[Network] = LOOPBACK

    @property
    def trusted(self) -> Sequence[Network]:
        """The addresses whose forwarded headers are trusted."""
        return self.proxies if self.user_header else ()


class AuthMiddleware:
    """Checks each request, then passes it on with the user's name in `USER_HEADER`."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app, self._rules = app, rules
        self._logins, self._throttle = Logins(), LoginThrottle()
        self._hashing = CapacityLimiter(MAX_HASHES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "scheme": scheme(scope, self._rules.trusted)}
        headers = Headers(scope=scope)
        cookies = cookie_parser(headers.get("cookie", ""))
        token = cookies.get(LOGIN_COOKIE, "")
        login = self._logins.find(token)
        response = self._refusal(scope, headers)
        if response is None and self._rules.password:
            response = await self._require_login(scope, receive, token, login)
        if response is None:
            user = (login.user if login else "") or headers.get(self._rules.user_header or "", "")
            kept = [(name, value) for name, value in scope["headers"] if name.lower() != USER_HEADER.encode()]
            scope = {**scope, "headers": [*kept, (USER_HEADER.encode(), quote(user).encode())]}
            if login and scope["type"] == "websocket":
                receive = self._while_logged_in(login, receive, send)
            await self._app(scope, receive, with_security_headers(scope, send, BROWSER_COOKIE not in cookies))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", **_CLOSED})
        else:
            await response(scope, receive, with_security_headers(scope, send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._rules.user_header and not within(peer(scope), self._rules.proxies):
            return PlainTextResponse("Only the configured proxy may connect (web.proxies in the config).", 403)
        host = headers.get("host", "")
        if self._rules.hosts is not None and _host_name(f"//{host}") not in self._rules.hosts:
            return PlainTextResponse(f"Unknown host name {host!r}; add it to web.hosts in the config.", 421)
        origin = headers.get("origin")
        if origin is not None and not _same_site(origin, host, scope["scheme"]):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        # Requests without an Origin are links, which may open a page, and images or scripts, which other sites may not
        # load.
        link = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (link and scope["path"] != "/logout"):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        return None

    async def _require_login(self, scope: Scope, receive: Receive, token: str, login: Login | None) -> Response | None:
        """Handle login and logout, and refuse requests without a login. None lets the request pass."""
        path, headers = scope["path"], Headers(scope=scope)
        if path == "/login" and scope["type"] == "http":
            return await self._handle_login(Request(scope, receive))
        if path == "/logout":
            self._logins.end(token)
            response = RedirectResponse(_login_address(path), 303)
            response.delete_cookie(LOGIN_COOKIE, httponly=True, samesite="strict")
            return response
        if login is None:
            wants_page = "text/html" in headers.get("accept", "")
            return RedirectResponse(_login_address(path), 303) if wants_page else PlainTextResponse("Log in.", 401)
        return None

    def _while_logged_in(self, login: Login, receive: Receive, send: Send) -> Receive:
        """Wrap `receive` of a websocket: close the connection when the login ends."""

        async def receive_while_logged_in() -> Message:
            message, ended = asyncio.ensure_future(receive()), asyncio.ensure_future(login.ended.wait())
            try:
                await asyncio.wait(
                    {message, ended}, timeout=self._logins.left_s(login), return_when=asyncio.FIRST_COMPLETED
                )
                if message.done() and self._logins.left_s(login):
                    return message.result()
            finally:
                message.cancel()
                ended.cancel()
            await send({"type": "websocket.close", **_CLOSED})
            return {"type": "websocket.disconnect", **_CLOSED}

        return receive_while_logged_in

    async def _handle_login(self, request: Request) -> Response:
        if request.method != "POST":
            return _form("")
        address = client(request.scope, self._rules.trusted)
        if wait := self._throttle.wait_s(address):
            return _form(f"Too many attempts. Try again in {wait:.0f} s.", 429)
        self._throttle.record_failure(address)  # before the first await, so that parallel attempts count too
        try:
            async with asyncio.timeout(FORM_TIMEOUT_S):
                body = await _body(request)
        except (ClientDisconnect, TimeoutError):
            return _form("The form was not received completely. Try again.", 408)
        if body is None:
            return _form("The password is too long.", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        given, known = form.get("password", [""])[0], self._rules.password
        assert known is not None
        if not await to_thread.run_sync(verify_password, given, known, limiter=self._hashing):
            return _form("Wrong password.", 401)
        self._throttle.reset(address)
        response = RedirectResponse("./", 303)
        token = self._logins.begin(form.get("name", [""])[0].strip()[:80])
        response.set_cookie(LOGIN_COOKIE, token, LIFETIME_S, httponly=True, samesite="strict")
        return response


async def _body(request: Request) -> bytes | None:
    """The request body, or None if it is longer than `MAX_FORM_BYTES`."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            return None
    return body


def user_of(headers: Iterable[tuple[str, str]] | None) -> str | None:
    """The user's name from headers that passed the middleware, or None. Control characters are written out."""
    found = next((value for name, value in headers or () if name.lower() == USER_HEADER), "")
    return visible(unquote(found)) or None


def _login_address(path: str) -> str:
    """The relative address of the login page: a proxy may serve the application below a path of its own."""
    return "../" * (path.count("/") - 1) + "login"


def _host_name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _form(message: str, status: int = 200) -> HTMLResponse:
    style = files("pipeline.reporting").joinpath("page.css").read_text("utf-8")
    page = Template(files("web.auth").joinpath("login.html").read_text("utf-8"))
    return HTMLResponse(page.substitute(style=style, message=escape(message)), status, {"cache-control": "no-store"})


def _same_site(origin: str, host: str, scheme: str) -> bool:
    """Whether `origin` has our host and port, and https if we are served over https."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.netloc == host and not (scheme in ("https", "wss") and parts.scheme != "https")
