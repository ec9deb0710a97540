"""The `web` command: the local web page."""

import getpass
import sys
from typing import Annotated

import typer

from commands.options import Config, Jobs, Root, error_handling, read_settings
from pipeline.core.errors import ConfigError, Fault


def web(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 chooses a free one.")
    ] = 8501,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Accept connections only from a proxy (web.proxies in the config), and trust its headers.",
        ),
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    set_password: Annotated[
        bool, typer.Option("--set-password", help="Ask for a password, print its hash for the config, and exit.")
    ] = False,
) -> None:
    """Serve the web page: review and correct records, ask about pictures, see run reports."""
    with error_handling():
        if set_password:
            from web.auth.password import hash_password

            sys.stdout.write(f'web:\n  password: "{hash_password(_read_password())}"\n')
            return
        from web.serve import serve

        serve(read_settings(config, root=root, jobs=jobs), config, host, port, behind_proxy, open_browser)


def _read_password() -> str:
    """Read it twice from a terminal, or one line from a pipe. Raises ConfigError."""
    if not sys.stdin.isatty():
        return _checked(sys.stdin.readline().rstrip("\n"))
    first = _checked(getpass.getpass("Password: "))
    if getpass.getpass("Again: ") != first:
        raise ConfigError([Fault("--set-password", None, "", "the two passwords differ")])
    return first


def _checked(password: str) -> str:
    if len(password) < 8:
        raise ConfigError([Fault("--set-password", None, "", "use at least 8 characters")])
    return password
