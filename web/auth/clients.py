"""Whose request it is: the address and the scheme, also behind a proxy, whose word counts and no client's.

A client may send any `X-Forwarded-For`. A proxy sets the header or appends to it: only the last value is the proxy's.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

Network = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_HOME = 64  # one IPv6 customer has a network of this length, and so any number of addresses


def peer(scope: Scope) -> str:
    """The address at the other end of the connection, "" where it is not known."""
    found = scope.get("client")
    return _address(found[0]) or "" if found else ""


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address lies in one of the networks."""
    try:
        return any(ip_address(address) in each for each in networks)
    except ValueError:
        return False


def client(scope: Scope, proxies: Sequence[Network]) -> str:
    """The address that asks: as the proxy gives it where the connection comes from one, else the connection's own.

    An IPv6 address stands for its network of 64 bits.
    """
    found = peer(scope)
    if within(found, proxies) and (last := _last(scope, "x-forwarded-for")):
        found = _address(last) or found
    return _home(found)


def scheme(scope: Scope, proxies: Sequence[Network]) -> str:
    """http, https, ws or wss, as the browser sees it."""
    own = str(scope.get("scheme", "http"))
    said = _last(scope, "x-forwarded-proto") if within(peer(scope), proxies) else ""
    if said not in ("http", "https"):
        return own
    return said.replace("http", "ws") if own.startswith("ws") else said


def _last(scope: Scope, header: str) -> str:
    return ",".join(Headers(scope=scope).getlist(header)).rsplit(",", 1)[-1].strip().lower()


def _address(text: str) -> str | None:
    """An IP address in its one spelling, without a port; None for what is no address."""
    for each in (text, text.removeprefix("[").partition("]")[0], text.rpartition(":")[0]):
        try:
            found = ip_address(each.partition("%")[0])
        except ValueError:
            continue
        return str(getattr(found, "ipv4_mapped", None) or found)
    return None


def _home(address: str) -> str:
    if ":" not in address:
        return address
    return str(IPv6Network((int(IPv6Address(address)), _HOME), strict=False))
