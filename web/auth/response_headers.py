"""Security headers and cookie flags on every response."""

import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

BROWSER_COOKIE = "scanmill_visitor"  # identifies a browser, which owns its conversations
BROWSER_COOKIE_S = 400 * 24 * 3600  # browsers keep no cookie for longer
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
_SECURITY_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with "no-referrer" browsers hide the Origin of the login form
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def with_security_headers(scope: Scope, send: Send, set_browser_cookie: bool = False) -> Send:
    """Wrap `send`: add security headers, and `Secure` to cookies on https.

    `set_browser_cookie` gives the browser a random id with the first HTML page.
    """
    secure = scope["scheme"] in ("https", "wss")

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")  # the next user of this browser must not see scans
            if set_browser_cookie and headers.get("content-type", "").startswith("text/html"):
                cookie = [f"{BROWSER_COOKIE}={secrets.token_urlsafe(24)}", f"Max-Age={BROWSER_COOKIE_S}", "Path=/"]
                headers.append("set-cookie", "; ".join([*cookie, "HttpOnly", "SameSite=Strict"]))
            if secure:
                message["headers"] = [(name, _secure_cookie(name, value)) for name, value in message["headers"]]
        await send(message)

    return send_with_headers


def _secure_cookie(name: bytes, value: bytes) -> bytes:
    """The header value; cookies, also Streamlit's own, get the flag `Secure`."""
    return value + b"; Secure" if name.lower() == b"set-cookie" and b"; secure" not in value.lower() else value
