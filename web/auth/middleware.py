"""What every request passes before it reaches a page: who may come in, and what a page may load.

Streamlit itself lets everybody in who reaches the port. So the gate stands before all of it, the websocket and the
pictures included. A request from another site's page is refused, and on 127.0.0.1 one that came under another name:
otherwise a page on the internet could read this one through the visitor's own browser. The answer's
Content-Security-Policy forbids the browser to load anything from elsewhere.
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import parse_qs, quote, unquote, urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.reporting.html import visible
from web.auth.clients import LOOPBACK, Network, client, peer, scheme, within
from web.auth.logins import LIFETIME_S, Login, Logins
from web.auth.password import LoginThrottle, right

COOKIE = "scanmill"
VISITOR, VISITOR_S = (
    "scanmill_visitor",
    400 * 24 * 3600,
)  # whose conversations these are; browsers keep no longer
PERSON = "x-scanmill-person"  # the gate tells the page who came in; what a browser sends under this name is dropped
FORM_BYTES = 4096
FORM_S = 10.0  # for the whole form, from its headers on
HASHES = 2  # passwords that are hashed at once: 32 MiB and about 0.1 s of a core each
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Streamlit's own scripts need both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self' data: blob:",
        "frame-ancestors 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "object-src 'none'",
    )
)
_ANSWERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with "no-referrer" a browser hides the origin of our own login form
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class AccessRules:
    """Who may come in. `password` is a hash or None; `hosts` are the names the page answers to, None for any.

    `person_header` names the header in which a proxy that asks for the password itself says who it is; where it is
    set, only the addresses of `proxies` may connect.
    """

    password: str | None = None
    hosts: tuple[str, ...] | None = None
    person_header: str | None = None
    proxies: Sequence[Network] = LOOPBACK

    @property
    def trusted(self) -> Sequence[Network]:
        """The addresses whose forwarded headers count."""
        return self.proxies if self.person_header else ()


class AuthMiddleware:
    """ASGI middleware around everything that the page serves."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app, self._rules = app, rules
        self._logins, self._patience = Logins(), LoginThrottle()
        self._hashing = CapacityLimiter(HASHES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "scheme": scheme(scope, self._rules.trusted)}
        headers = Headers(scope=scope)
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        login = self._logins.find(token)
        answer = self._refusal(scope, headers)
        if answer is None and self._rules.password:
            answer = await self._asked_for(scope, receive, token, login)
        if answer is None:
            person = (login.person if login else "") or headers.get(self._rules.person_header or "", "")
            kept = [(name, value) for name, value in scope["headers"] if name.lower() != PERSON.encode()]
            scope = {**scope, "headers": [*kept, (PERSON.encode(), quote(person).encode())]}
            known = VISITOR in cookie_parser(headers.get("cookie", ""))
            if login and scope["type"] == "websocket":
                receive = self._while_logged_in(login, receive, send)
            await self._app(scope, receive, _guarded(scope, send, greet=not known))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "log in first"})
        else:
            await answer(scope, receive, _guarded(scope, send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._rules.person_header and not within(peer(scope), self._rules.proxies):
            return PlainTextResponse("This page answers only to its proxy (web.proxies in its config).", 403)
        host = headers.get("host", "")
        if self._rules.hosts is not None and _name(f"//{host}") not in self._rules.hosts:
            return PlainTextResponse(f"This page does not answer to the name {host!r}.", 421)
        origin = headers.get("origin")
        if origin is not None and not _same_site(origin, host, scope["scheme"]):
            return PlainTextResponse("Another site's page may not ask here.", 403)
        # Without an Origin come links, which may lead to a page, and pictures or scripts, which nobody else may load.
        link = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (link and scope["path"] != "/logout"):
            return PlainTextResponse("Another site's page may not ask here.", 403)
        return None

    async def _asked_for(self, scope: Scope, receive: Receive, token: str, login: Login | None) -> Response | None:
        """What the gate itself says where a password is set; None lets the request pass."""
        path, headers = scope["path"], Headers(scope=scope)
        if path == "/login" and scope["type"] == "http":
            return await self._login(Request(scope, receive))
        if path == "/logout":
            self._logins.end(token)
            answer = RedirectResponse(_to_login(path), 303)
            answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
            return answer
        if login is None:
            wants_page = "text/html" in headers.get("accept", "")
            return RedirectResponse(_to_login(path), 303) if wants_page else PlainTextResponse("Please log in.", 401)
        return None

    def _while_logged_in(self, login: Login, receive: Receive, send: Send) -> Receive:
        """Receives for a websocket until the login is over; then the connection is closed."""

        async def receive_on() -> Message:
            message, over = asyncio.ensure_future(receive()), asyncio.ensure_future(login.ended.wait())
            try:
                await asyncio.wait(
                    {message, over}, timeout=self._logins.left_s(login), return_when=asyncio.FIRST_COMPLETED
                )
                if message.done() and self._logins.left_s(login):
                    return message.result()
            finally:
                message.cancel()
                over.cancel()
            await send({"type": "websocket.close", "code": 1008, "reason": "log in first"})
            return {"type": "websocket.disconnect", "code": 1008, "reason": "log in first"}

        return receive_on

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return _form("")
        asking = client(request.scope, self._rules.trusted)
        if wait := self._patience.wait_s(asking):
            return _form(f"Please wait {wait:.0f} s before you try again.", 429)
        self._patience.failed(asking)  # before anything is awaited, so that many tries at once gain nothing
        try:
            async with asyncio.timeout(FORM_S):
                body = await _body(request)
        except (ClientDisconnect, TimeoutError):
            return _form("The form did not arrive as a whole. Try again.", 408)
        if body is None:
            return _form("That is too long for a password.", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        given, known = form.get("password", [""])[0], self._rules.password
        assert known is not None
        if not await to_thread.run_sync(right, given, known, limiter=self._hashing):
            return _form("That is not the password.", 401)
        self._patience.forget(asking)
        answer = RedirectResponse("./", 303)
        token = self._logins.begin(form.get("name", [""])[0].strip()[:80])
        answer.set_cookie(COOKIE, token, LIFETIME_S, httponly=True, samesite="strict")
        return answer


async def _body(request: Request) -> bytes | None:
    """The form; None where it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            return None
    return body


def user_of(headers: Iterable[tuple[str, str]] | None) -> str | None:
    """Who sits before the page, out of the headers that passed the gate; None where it is not known.

    Others read this name: what could turn or hide their text is written out.
    """
    found = next((value for name, value in headers or () if name.lower() == PERSON), "")
    return visible(unquote(found)) or None


def _to_login(path: str) -> str:
    """The relative address of the login: a proxy may serve the page below a folder of its own."""
    return "../" * (path.count("/") - 1) + "login"


def _name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _form(said: str, status: int = 200) -> HTMLResponse:
    style = files("pipeline.reporting").joinpath("page.css").read_text("utf-8")
    page = Template(files("web.auth").joinpath("login.html").read_text("utf-8"))
    return HTMLResponse(page.substitute(style=style, said=escape(said)), status, {"cache-control": "no-store"})


def _same_site(origin: str, host: str, scheme: str) -> bool:
    """Whether a page of `origin` is one of ours: the same name and port, and over TLS where we are."""
    try:
        said = urlsplit(origin)
    except ValueError:
        return False
    return said.netloc == host and not (scheme in ("https", "wss") and said.scheme != "https")


def _guarded(scope: Scope, send: Send, greet: bool = False) -> Send:
    """`greet` gives the visitor's browser a name of its own, which nobody can guess."""
    secure = scope["scheme"] in ("https", "wss")

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _ANSWERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")  # what is on the page is not for the next at this browser
            if greet and headers.get("content-type", "").startswith("text/html"):
                parts = [f"{VISITOR}={secrets.token_urlsafe(24)}", f"Max-Age={VISITOR_S}", "Path=/", "HttpOnly"]
                headers.append("set-cookie", "; ".join([*parts, "SameSite=Strict"]))
            if secure:
                message["headers"] = [(name, _over_tls_only(name, value)) for name, value in message["headers"]]
        await send(message)

    return send_guarded


def _over_tls_only(name: bytes, value: bytes) -> bytes:
    """The header's value; a cookie, also one of Streamlit's own, is never sent in the open."""
    return value + b"; Secure" if name.lower() == b"set-cookie" and b"; secure" not in value.lower() else value
