"""What every request passes before it reaches a page: who may come in, and what a page may load.

Streamlit itself lets everybody in who reaches the port. So the gate stands before all of it, the websocket and the
pictures included. A request that carries another site's `Origin` is refused, and on 127.0.0.1 one that came under
another name: otherwise a page on the internet could read this one through the visitor's own browser. The answer's
Content-Security-Policy forbids the browser to load anything from elsewhere.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote, unquote, urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.password import Patience, right

COOKIE, COOKIE_S = "scanmill", 12 * 3600
VISITOR, VISITOR_S = (
    "scanmill_visitor",
    400 * 24 * 3600,
)  # whose conversations these are; browsers keep no longer
PERSON = "x-scanmill-person"  # the gate tells the page who came in; what a browser sends under this name is dropped
FORM_BYTES = 4096
_HERE = Path(__file__).parent
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
    "referrer-policy": "same-origin",  # with "no-referrer" a browser hides the origin of our own login form
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class Rules:
    """Who may come in. `password` is a hash or None; `hosts` are the names the page answers to, None for any.

    `person_header` names the header in which a proxy that asks for the password itself says who it is.
    """

    password: str | None = None
    hosts: tuple[str, ...] | None = None
    person_header: str | None = None
    secret: str = field(default_factory=lambda: secrets.token_hex(32))


class Gate:
    """ASGI middleware around everything that the page serves."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._signer = URLSafeTimedSerializer(rules.secret, salt="scanmill login")
        self._patience = Patience()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(headers)
        person: str | None = None
        if answer is None:
            person = self._person(headers)
            if self._rules.password and scope["path"] == "/login" and scope["type"] == "http":
                answer = await self._login(Request(scope, receive))
            elif self._rules.password and person is None:
                wants_page = "text/html" in headers.get("accept", "")
                answer = RedirectResponse("login", 303) if wants_page else PlainTextResponse("Please log in.", 401)
            elif scope["path"] == "/logout":
                answer = RedirectResponse("login" if self._rules.password else "./", 303)
                answer.delete_cookie(COOKIE)
        if answer is None:
            kept = [(name, value) for name, value in scope["headers"] if name.lower() != PERSON.encode()]
            scope = {**scope, "headers": [*kept, (PERSON.encode(), quote(person or "").encode())]}
            known = VISITOR in cookie_parser(headers.get("cookie", ""))
            await self._app(scope, receive, _guarded(send, greet=not known, secure=_over_tls(scope, headers)))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "log in first"})
        else:
            await answer(scope, receive, _guarded(send))

    def _refusal(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._rules.hosts is not None and _name(f"//{host}") not in self._rules.hosts:
            return PlainTextResponse(f"This page does not answer to the name {host!r}.", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("Another site's page may not ask here.", 403)
        return None

    def _person(self, headers: Headers) -> str | None:
        """The name of who came in, "" where it is not known; None for nobody who may."""
        if self._rules.password:
            try:
                said = self._signer.loads(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), COOKIE_S)
            except BadSignature:
                return None
            return str(said)
        return headers.get(self._rules.person_header, "") if self._rules.person_header else ""

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return _form("")
        client = request.client.host if request.client else ""
        if wait := self._patience.wait_s(client):
            return _form(f"Please wait {wait:.0f} s before you try again.", 429)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES:
                return _form("That is too long for a password.", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        self._patience.failed(client)  # before the hash is reckoned, so that many tries at once gain nothing
        assert self._rules.password is not None
        if not await run_in_threadpool(right, form.get("password", [""])[0], self._rules.password):
            return _form("That is not the password.", 401)
        self._patience.forget(client)
        answer = RedirectResponse("./", 303)
        name = form.get("name", [""])[0].strip()[:80]
        secure = _over_tls(request.scope, request.headers)
        answer.set_cookie(
            COOKIE, str(self._signer.dumps(name)), COOKIE_S, httponly=True, samesite="strict", secure=secure
        )
        return answer


def person_of(headers: Iterable[tuple[str, str]] | None) -> str | None:
    """Who sits before the page, out of the headers that passed the gate; None where it is not known."""
    found = next((value for name, value in headers or () if name.lower() == PERSON), "")
    return unquote(found) or None


def _name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _form(said: str, status: int = 200) -> HTMLResponse:
    style = (_HERE.parent / "pipeline" / "page.css").read_text("utf-8")
    page = Template((_HERE / "login.html").read_text("utf-8"))
    return HTMLResponse(page.substitute(style=style, said=escape(said)), status, {"cache-control": "no-store"})


def _over_tls(scope: Scope, headers: Headers) -> bool:
    return scope.get("scheme") in ("https", "wss") or headers.get("x-forwarded-proto") == "https"


def _guarded(send: Send, greet: bool = False, secure: bool = False) -> Send:
    """`greet` gives the visitor's browser a name of its own, which nobody can guess."""

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _ANSWERS.items():
                headers[name] = value
            if greet and headers.get("content-type", "").startswith("text/html"):
                parts = [f"{VISITOR}={secrets.token_urlsafe(24)}", f"Max-Age={VISITOR_S}", "Path=/", "HttpOnly"]
                headers.append("set-cookie", "; ".join([*parts, "SameSite=Strict", *(["Secure"] if secure else [])]))
        await send(message)

    return send_guarded
