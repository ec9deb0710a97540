"""Client address and scheme of a request, directly or through a trusted proxy.

A client may send any `X-Forwarded-For`. A proxy sets the header or appends to it: only the last value is trusted.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

Network = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_CUSTOMER_PREFIX = 64  # bits: an IPv6 customer has a whole /64 network of addresses


def peer(scope: Scope) -> str:
    """The address of the other end of the connection, or "" if unknown."""
    found = scope.get("client")
    return _address(found[0]) or "" if found else ""


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address belongs to one of the networks."""
    try:
        return any(ip_address(address) in each for each in networks)
    except ValueError:
        return False


def client(scope: Scope, proxies: Sequence[Network]) -> str:
    """The client address: the forwarded one if the connection comes from a proxy, else the connection's own.

    An IPv6 address is reduced to its /64 network.
    """
    found = peer(scope)
    if within(found, proxies) and (last := _last(scope, "x-forwarded-for")):
        found = _address(last) or found
    return _customer(found)


def scheme(scope: Scope, proxies: Sequence[Network]) -> str:
    """The scheme that the browser used: http, https, ws or wss."""
    own = str(scope.get("scheme", "http"))
    forwarded = _last(scope, "x-forwarded-proto") if within(peer(scope), proxies) else ""
    if forwarded not in ("http", "https"):
        return own
    return forwarded.replace("http", "ws") if own.startswith("ws") else forwarded


def _last(scope: Scope, header: str) -> str:
    return ",".join(Headers(scope=scope).getlist(header)).rsplit(",", 1)[-1].strip().lower()


def _address(text: str) -> str | None:
    """The canonical IP address without its port, or None if the text is not an address."""
    for each in (text, text.removeprefix("[").partition("]")[0], text.rpartition(":")[0]):
        try:
            found = ip_address(each.partition("%")[0])
        except ValueError:
            continue
        return str(getattr(found, "ipv4_mapped", None) or found)
    return None


def _customer(address: str) -> str:
    if ":" not in address:
        return address
    return str(IPv6Network((int(IPv6Address(address)), _CUSTOMER_PREFIX), strict=False))
