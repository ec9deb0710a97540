"""The server: one process that listens at one address and keeps everything on this machine."""

import socket
import sys
import threading
import webbrowser
from pathlib import Path

from pipeline.core.errors import ConfigError, Fault, StorageError
from pipeline.core.safe_text import sanitize
from pipeline.schema.settings import Settings
from web.context import configure

APP = Path(__file__).with_name("app.py")
LOCAL = ("127.0.0.1", "localhost", "::1")
PERSON_HEADER = "x-forwarded-user"  # what a proxy that knows its visitors sends
# What must hold whatever a user's own Streamlit settings say.
_FIXED = {
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
    """Serves the page until a signal ends it. Raises ConfigError and StorageError before anything is served."""
    local = host in LOCAL
    if not local and not behind_proxy and settings.web.password is None:
        cure = "make one with `run_batch.py web --set-password`, or say --behind-proxy where a proxy asks for it"
        raise ConfigError([Fault("web", None, "password", f"whoever reaches {host} could read everything; {cure}")])
    try:
        import streamlit  # noqa: F401
    except ModuleNotFoundError:
        cure = "the page needs more packages; install them with: pip install -c constraints.txt -e '.[web]'"
        raise ConfigError([Fault("web", None, "", cure)]) from None
    _check_password(settings.web.password, config)
    configure(settings, config)
    listener = _listening(host, port)
    shown = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    sys.stderr.write(f"The page about {sanitize(settings.root)} is at {shown}; stop it with Ctrl-C.\n")
    if behind_proxy:
        known = ", ".join(map(str, settings.web.proxies))
        sys.stderr.write(f"Only its proxy may connect, from {known} (web.proxies in the config).\n")
    if open_browser:
        threading.Timer(1.0, webbrowser.open, [shown]).start()
    _run(settings, listener, local and not behind_proxy, behind_proxy)


def _check_password(line: str | None, config: Path | None) -> None:
    from web.auth.password import check

    try:
        if line is not None:
            check(line)
    except ValueError as error:
        cure = f"{error}; make a new line with `run_batch.py web --set-password`"
        raise ConfigError([Fault(str(config or "web"), None, "web.password", cure)]) from None


def _listening(host: str, port: int) -> socket.socket:
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

    from web.auth.connections import bounded
    from web.auth.middleware import AccessRules, AuthMiddleware
    from web.components.theme import mishap
    from web.data.record_list import record_list
    from web.image_route import answer

    known, person_header = settings.web.hosts, PERSON_HEADER if behind_proxy else None
    hosts = (*LOCAL, *map(str.lower, known)) if local or known else None
    rules = AccessRules(settings.web.password, hosts, person_header, settings.web.proxies)
    scan = Route("/scan/{job}/{document_id}/{record_page}/{page}", answer)
    # Made before the options are read: from then on Streamlit knows the config beside the script.
    app = st.App(APP, routes=[scan], middleware=[Middleware(AuthMiddleware, rules=rules)], on_script_error=mishap)
    load_config_options(_FIXED | {"server.maxUploadSize": max(1, round(settings.web.upload_mib))})
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,  # the gate reads them: uvicorn takes a client's own where the proxy's hop is loopback
        http=bounded(rules.trusted),
        ws="websockets-sansio",
    )
    # The first visitor should not wait for what a thread can read before.
    threading.Thread(target=record_list, args=(settings.root,), daemon=True).start()
    uvicorn.Server(config).run(sockets=[listener])
