"""The web server: one process that listens on one address."""

import socket
import sys
import threading
import webbrowser
from pathlib import Path

from pipeline.core.errors import ConfigError, Fault, StorageError
from pipeline.core.safe_text import sanitize
from pipeline.schema.settings import Settings
from web.context import configure

# Not beside the folder pages/: Streamlit would run the files in that folder as pages of their own.
APP = Path(__file__).parent / "pages" / "app.py"
LOCAL = ("127.0.0.1", "localhost", "::1")
USER_HEADER = "x-forwarded-user"  # set by a proxy that authenticates users
# These override a user's own Streamlit settings.
_STREAMLIT = {
    "browser.gatherUsageStats": False,
    "global.developmentMode": False,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "server.enableAgentApi": False,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
}


def serve(
    settings: Settings, config: Path | None, host: str, port: int, behind_proxy: bool, open_browser: bool
) -> None:
    """Serve the page until a signal ends it. Raises ConfigError and StorageError before serving starts."""
    local = host in LOCAL
    if not local and not behind_proxy and settings.web.password is None:
        cure = "set one with `run_batch.py web --set-password`, or pass --behind-proxy if a proxy asks for it"
        raise ConfigError(
            [Fault("web", None, "password", f"without a password all who can reach {host} can read everything; {cure}")]
        )
    try:
        import streamlit  # noqa: F401
    except ModuleNotFoundError:
        cure = "the page needs more packages; install them with: pip install -c constraints.txt -e '.[web]'"
        raise ConfigError([Fault("web", None, "", cure)]) from None
    _check_password(settings.web.password, config)
    configure(settings, config)
    listener = _listen(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    sys.stderr.write(f"Serving {sanitize(settings.root)} at {address}; stop with Ctrl-C.\n")
    if behind_proxy:
        proxies = ", ".join(map(str, settings.web.proxies))
        sys.stderr.write(f"Only its proxy may connect, from {proxies} (web.proxies in the config).\n")
    if open_browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    _run(settings, listener, local and not behind_proxy, behind_proxy)


def _check_password(line: str | None, config: Path | None) -> None:
    from web.auth.password import validate_hash

    try:
        if line is not None:
            validate_hash(line)
    except ValueError as error:
        cure = f"{error}; make a new line with `run_batch.py web --set-password`"
        raise ConfigError([Fault(str(config or "web"), None, "web.password", cure)]) from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StorageError(f"{host}:{port}: {error.strerror or error}. Choose another with --port.") from error
    return listener


def _run(settings: Settings, listener: socket.socket, local: bool, behind_proxy: bool) -> None:
    import streamlit as st
    import uvicorn
    from starlette.middleware import Middleware
    from starlette.routing import Route
    from streamlit.web.bootstrap import load_config_options

    from web.auth.connections import bounded_protocol
    from web.auth.middleware import AccessRules, AuthMiddleware
    from web.components.theme import show_unexpected_error
    from web.data.record_list import load_records
    from web.image_route import page_image

    hosts = (*LOCAL, *map(str.lower, settings.web.hosts)) if local or settings.web.hosts else None
    user_header = USER_HEADER if behind_proxy else None
    rules = AccessRules(settings.web.password, hosts, user_header, settings.web.proxies)
    # Create the app before the options are loaded: it makes Streamlit use the config beside the script.
    app = st.App(
        APP,
        routes=[Route("/scan/{job}/{document_id}/{record_page}/{page}", page_image)],
        middleware=[Middleware(AuthMiddleware, rules=rules)],
        on_script_error=show_unexpected_error,
    )
    load_config_options(_STREAMLIT | {"server.maxUploadSize": max(1, round(settings.web.upload_mib))})
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,  # AuthMiddleware reads them; uvicorn would trust a client's own headers on loopback
        http=bounded_protocol(rules.trusted),
        ws="websockets-sansio",
    )
    # Fill the cache before the first user opens the page.
    threading.Thread(target=load_records, args=(settings.root,), daemon=True).start()
    uvicorn.Server(config).run(sockets=[listener])
