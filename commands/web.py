"""The local page: review, ask, runs."""

import getpass
import sys
from typing import Annotated

import typer

from commands.options import Config, Jobs, Root, errors_told, settings_of
from pipeline.core.errors import ConfigError, Fault


def web(
    root: Root = None,
    config: Config = None,
    jobs: Jobs = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8501,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy", help="Only a proxy may connect (web.proxies in the config), and what it says counts."
        ),
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    set_password: Annotated[
        bool, typer.Option("--set-password", help="Ask for a password, print its line for the config, and end.")
    ] = False,
) -> None:
    """Serve the local page: review and correct records, ask about pictures, see how runs went."""
    with errors_told():
        if set_password:
            from web.auth.password import hash_password

            sys.stdout.write(f'web:\n  password: "{hash_password(_asked())}"\n')
            return
        from web.serve import serve

        serve(settings_of(config, root=root, jobs=jobs), config, host, port, behind_proxy, open_browser)


def _asked() -> str:
    """From the terminal, twice; from a pipe, one line."""
    if not sys.stdin.isatty():
        return _long_enough(sys.stdin.readline().rstrip("\n"))
    first = _long_enough(getpass.getpass("Password: "))
    if getpass.getpass("Again: ") != first:
        raise ConfigError([Fault("--set-password", None, "", "the two were not the same")])
    return first


def _long_enough(password: str) -> str:
    if len(password) < 8:
        raise ConfigError([Fault("--set-password", None, "", "use at least 8 characters")])
    return password
