"""The login of the page over real connections: slow forms, many tries at once, forged headers, logout, idle clients."""

import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

import pipeline  # noqa: F401 - before streamlit, as it switches off the network
from tests.support.browsing import PROJECT, served, serving

pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")

from web.auth.clients import LOOPBACK, client
from web.auth.connections import HEADERS_S, MAX_PER_CLIENT
from web.auth.middleware import FORM_TIMEOUT_S, MAX_HASHES
from web.auth.password import hash_password

PASSWORD = "open sesame 1"
HASH_MIB = 32
OTHER = "127.0.0.2"  # a second client: all of 127.0.0.0/8 is this machine


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty root with a config that has a password."""
    top = tmp_path_factory.mktemp("login")
    (top / "data").mkdir()
    (top / "page.yaml").write_text(f'web: {{password: "{hash_password(PASSWORD)}"}}\n')
    return top


@pytest.fixture
def direct(top: Path) -> Iterator[str]:
    """The page as its visitors reach it without a proxy. Each test has its own: nobody waits for another's tries."""
    with served(top / "data", "--config", str(top / "page.yaml")) as address:
        yield address


@pytest.fixture
def behind(top: Path) -> Iterator[tuple[str, int]]:
    """The page for a proxy on this machine, and the id of its process."""
    with serving(top / "data", "--config", str(top / "page.yaml"), "--behind-proxy") as found:
        yield found


def asked(
    address: str, path: str, body: str | None = None, source: str = "127.0.0.1", **headers: str
) -> tuple[int, HTTPMessage]:
    """One request on a connection of its own; its status and headers. Redirects are not followed."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=120, source_address=(source, 0))
    with closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, body, named)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers


def tried(address: str, password: str, source: str = "127.0.0.1", **headers: str) -> int:
    return asked(address, "/login", f"password={password}", source, **headers)[0]


def logged_in(address: str, source: str = "127.0.0.1", **headers: str) -> str:
    """The cookie of a new login."""
    status, answer = asked(address, "/login", f"password={PASSWORD}&name=Ada", source, **headers)
    assert status == 303
    return str(answer["set-cookie"]).partition(";")[0]


def connected(address: str, source: str = "127.0.0.1") -> socket.socket:
    place = urlsplit(address)
    return socket.create_connection((place.hostname, place.port), 120, (source, 0))


def head(length: int, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{''.join(lines)}\r\n".encode()


def status_of(connection: socket.socket) -> int | None:
    """What the server answers; None where it closed the connection."""
    try:
        found = re.match(rb"HTTP/1\.1 (\d+)", connection.recv(65536))
    except ConnectionError:
        return None
    return int(found[1]) if found else None


def slowly(address: str, forms: list[tuple[bytes, bytes]]) -> list[int | None]:
    """Sends the headers of every form, each on its own connection, then their bodies; the answers."""
    with ExitStack() as opened:
        connections = [opened.enter_context(connected(address)) for _ in forms]
        for part in (0, 1):
            for connection, form in zip(connections, forms, strict=True):
                try:
                    connection.sendall(form[part])
                except ConnectionError:
                    continue  # the server has refused it
            if not part:
                assert asked(address, "/login", source=OTHER)[0] == 200  # the server has turned to all of them
        with ThreadPoolExecutor(len(forms)) as readers:
            return list(readers.map(status_of, connections))


def test_150_forms_whose_bodies_come_late_are_one_try(direct: str) -> None:
    body = b"password=wrong"
    answers = slowly(direct, [(head(len(body)), body)] * 150)
    assert answers.count(401) == 1
    assert set(answers) <= {401, 429, None}


def test_passwords_of_many_clients_are_hashed_a_few_at_once(behind: tuple[str, int]) -> None:
    address, process = behind
    status, peak = Path(f"/proc/{process}/status"), Path(f"/proc/{process}/clear_refs")
    if not peak.exists():
        pytest.skip("needs /proc, to see how much memory the server takes")
    assert tried(address, "wrong") == 401
    peak.write_text("5")  # from now on the peak counts anew
    before = memory_mib(status, "VmHWM")
    body = b"password=wrong"
    forms = [(head(len(body), X_Forwarded_For=f"203.0.113.{each}"), body) for each in range(20)]
    assert slowly(address, forms) == [401] * len(forms)
    assert memory_mib(status, "VmHWM") - before < (MAX_HASHES + 2) * HASH_MIB


def memory_mib(status: Path, name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1]) / 1024


def test_a_client_that_forges_where_it_comes_from_waits_all_the_same(behind: tuple[str, int], direct: str) -> None:
    address, _ = behind
    appended = [tried(address, "wrong", X_Forwarded_For=f"198.51.100.{each}, 127.0.0.1") for each in range(4)]
    assert appended == [401, 429, 429, 429]  # the proxy said 127.0.0.1: a visitor at its own machine
    assert tried(address, "wrong", X_Forwarded_For="198.51.100.9, 203.0.113.7") == 401  # somebody else
    without = [tried(direct, "wrong", X_Forwarded_For=f"198.51.100.{each}") for each in range(4)]
    assert without == [401, 429, 429, 429]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("127.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.7:4711", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1, unknown", "127.0.0.1"),
        ("::ffff:127.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("127.0.0.1", "[2001:db8:1:2:bbbb::2]:4711", "2001:db8:1:2::/64"),
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),
    ],
)
def test_only_the_last_word_of_a_known_proxy_says_who_asks(peer: str, forwarded: str, found: str) -> None:
    scope = {"type": "http", "client": (peer, 50000), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    assert client(scope, LOOPBACK) == found


def test_a_cookie_is_worth_nothing_after_logout_and_its_open_page_ends(direct: str) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    mine, others = logged_in(direct), logged_in(direct, OTHER)
    stream = f"{direct.replace('http', 'ws')}/_stcore/stream"
    with connect(stream, additional_headers={"Cookie": mine}) as page:
        assert asked(direct, "/_stcore/host-config", Cookie=mine)[0] == 200
        status, answer = asked(direct, "/logout", Cookie=mine)
        assert (status, answer["location"]) == (303, "login")
        assert 'scanmill=""' in str(answer["set-cookie"])
        with pytest.raises(ConnectionClosed):
            page.recv(timeout=30)
    assert asked(direct, "/_stcore/host-config", Cookie=mine)[0] == 401
    assert asked(direct, f"/scan/bill/{'0' * 64}/0/1", Cookie=mine)[0] == 401
    assert asked(direct, "/", Cookie=mine, Accept="text/html")[0] == 303
    assert asked(direct, "/_stcore/host-config", Cookie=others)[0] == 200


def test_whoever_opens_any_address_comes_to_the_login(direct: str) -> None:
    for path in ("/", "/runs", "/scan/bill/0/0/1"):
        status, answer = asked(direct, path, Accept="text/html")
        assert (status, urljoin(f"{direct}{path}", answer["location"])) == (303, f"{direct}/login")


def test_an_open_page_of_somebody_else_goes_on_at_a_logout(direct: str) -> None:
    from websockets.sync.client import connect

    mine, others = logged_in(direct), logged_in(direct, OTHER)
    with connect(f"{direct.replace('http', 'ws')}/_stcore/stream", additional_headers={"Cookie": others}) as page:
        asked(direct, "/logout", Cookie=mine)
        assert page.ping().wait(30)


def test_a_restart_ends_every_login(top: Path) -> None:
    with served(top / "data", "--config", str(top / "page.yaml")) as address:
        cookie = logged_in(address)
    with served(top / "data", "--config", str(top / "page.yaml")) as address:
        assert asked(address, "/_stcore/host-config", Cookie=cookie)[0] == 401


def test_another_sites_page_neither_logs_anybody_out_nor_loads_a_picture(direct: str) -> None:
    cookie = logged_in(direct)
    for site in ("cross-site", "same-site"):
        seen = {"Cookie": cookie, "Sec_Fetch_Site": site}
        assert asked(direct, "/logout", Sec_Fetch_Mode="navigate", **seen)[0] == 403
        assert asked(direct, f"/scan/bill/{'0' * 64}/0/1", Sec_Fetch_Mode="no-cors", **seen)[0] == 403
        assert asked(direct, "/?record=bill", Sec_Fetch_Mode="navigate", **seen)[0] == 200  # a link in a mail
    for origin in ("http://localhost:1", "null", "http://["):
        assert asked(direct, "/login", "password=x", Origin=origin)[0] == 403
    status, answer = asked(direct, f"/scan/bill/{'0' * 64}/0/1", Cookie=cookie)
    assert (status, answer["cache-control"]) == (404, "no-store")
    assert answer["cross-origin-resource-policy"] == "same-origin"


def test_cookies_are_out_of_reach_and_over_tls_never_sent_in_the_open(behind: tuple[str, int], direct: str) -> None:
    address, _ = behind
    form = f"password={PASSWORD}"
    given = str(asked(address, "/login", form, X_Forwarded_Proto="https")[1]["set-cookie"])
    assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/"} <= set(given.split("; "))
    cookie = given.partition(";")[0]
    told = asked(address, "/_stcore/health", Cookie=cookie, X_Forwarded_Proto="https")[1]
    assert "; Secure" in str(told["set-cookie"])  # Streamlit's own
    assert "Secure" not in str(asked(direct, "/login", form, X_Forwarded_Proto="https")[1]["set-cookie"])
    crossed = {"Cookie": cookie, "X_Forwarded_Proto": "https", "Host": "scans.example.com"}
    assert asked(address, "/_stcore/host-config", Origin="https://scans.example.com", **crossed)[0] == 200
    assert asked(address, "/_stcore/host-config", Origin="http://scans.example.com", **crossed)[0] == 403


def test_a_page_for_a_proxy_answers_to_nobody_else_and_to_no_other_name(top: Path) -> None:
    config = top / "proxied.yaml"
    config.write_text("web: {proxies: [127.0.0.9], hosts: [scans.example.com]}\n")
    with served(top / "data", "--config", str(config), "--behind-proxy") as address:
        name = {"Host": "scans.example.com", "X_Forwarded_User": "Ada"}
        assert asked(address, "/_stcore/host-config", source="127.0.0.9", **name)[0] == 200
        assert asked(address, "/_stcore/host-config", source=OTHER, **name)[0] == 403
        assert asked(address, "/_stcore/host-config", source="127.0.0.9", **name | {"Host": "evil.example"})[0] == 421


def test_clients_that_send_nothing_or_slowly_keep_nobody_out(direct: str) -> None:
    with ExitStack() as opened:
        idle = [opened.enter_context(connected(direct)) for _ in range(MAX_PER_CLIENT + 50)]
        assert asked(direct, "/login", source=OTHER)[0] == 200
        slow = opened.enter_context(connected(direct, OTHER))
        late = opened.enter_context(connected(direct, OTHER))
        late.sendall(head(20) + b"passw")
        began = time.monotonic()
        ended = trickled(slow, b"GET /login HTTP/1.1\r\n" + b"X-More: 1\r\n" * 1000)
        assert ended - began < 3 * HEADERS_S
        for connection in idle:
            assert status_of(connection) is None
        assert status_of(late) == 408
        assert time.monotonic() - began < 3 * FORM_TIMEOUT_S
    assert asked(direct, "/login")[0] == 200


def trickled(connection: socket.socket, sent: bytes) -> float:
    """Sends a few bytes at a time for as long as the server takes them; when it stopped."""
    with selectors.DefaultSelector() as watched:
        watched.register(connection, selectors.EVENT_READ)
        for at in range(0, len(sent), 4):
            try:
                connection.sendall(sent[at : at + 4])
            except ConnectionError:
                break
            if watched.select(0.05):
                break
    return time.monotonic()


@pytest.mark.parametrize("line", ["scrypt$15$8$1$c2FsdA$a2V5", "scrypt$60$8$1$c2FsdA==$" + "A" * 43 + "="])
def test_a_password_line_that_nobody_could_log_in_with_is_told_at_the_start(top: Path, line: str) -> None:
    config = top / "broken.yaml"
    config.write_text(f'web: {{password: "{line}"}}\n')
    options = ["--root", str(top / "data"), "--config", str(config), "--port", "0"]
    done = subprocess.run(
        [sys.executable, "run_batch.py", "web", *options], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert re.search(r"web\.password.*--set-password", done.stderr)
