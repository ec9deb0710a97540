"""The page behind a real nginx with TLS, configured by exactly the block that docs/operations.md prints."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.core.types import Document, Issue, Record
from pipeline.schema.job import load_jobs
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import record_file
from pipeline.storage.record_store import RecordStore
from tests.support.browsing import PROJECT, browser, free_port, served
from tests.support.waiting import EVENT_S, wait_until

pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")

from web.auth.password import hash_password

NAME = "scans.example.com"
PASSWORD = "open sesame 1"
PICTURE = PROJECT / "samples" / "receipts" / "bakery_crumpled.jpg"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program(name: str) -> str:
    """Where it is; skips the test where it is not."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"needs {name}; install it with: apt-get install nginx-light openssl")
    return found


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root, a job that asks, two configs, a certificate and the users of nginx."""
    openssl, top = program("openssl"), tmp_path_factory.mktemp("nginx")
    (top / "data").mkdir()
    (top / "read").mkdir()
    (top / "jobs").mkdir()
    (top / "jobs" / "bill.yaml").write_text("fields: {number: {type: text}}\n")
    (top / "jobs" / "ask.yaml").write_text((PROJECT / "jobs" / "ask.yaml").read_text("utf-8"))
    (top / "says.json").write_text('{"*": "A receipt of a bakery."}')
    machine = f"engine: echo\nweights: {top / 'says.json'}\nsettle_s: 0\nworkers: 1\nweb:\n  hosts: [{NAME}]\n"
    (top / "nginx-asks.yaml").write_text(machine)
    (top / "page-asks.yaml").write_text(f'{machine}  password: "{hash_password(PASSWORD)}"\n')
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
            *("-keyout", top / "scans.key", "-out", top / "scans.pem"),
        ],
        check=True,
        capture_output=True,
    )
    secret = subprocess.run([openssl, "passwd", "-apr1", PASSWORD], check=True, capture_output=True, text=True).stdout
    (top / "scans.users").write_text(f"ada:{secret}")
    return top


def documented(top: Path, page: str, port: int, nginx_asks: bool) -> str:
    """The server block of the documentation with this test's paths and ports; every place of it has to be there."""
    said = re.search(r"```nginx\n(.*?)```", (PROJECT / "docs" / "operations.md").read_text("utf-8"), re.DOTALL)
    assert said is not None
    block = said[1]
    for printed, ours in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/scans.pem": str(top / "scans.pem"),
        "/etc/ssl/scans.key": str(top / "scans.key"),
        "/etc/nginx/scans.users": str(top / "scans.users"),
        "http://127.0.0.1:8501": page,
    }.items():
        assert block.count(printed) == 1
        block = block.replace(printed, ours)
    if not nginx_asks:  # as the comment in the block says
        block, left_out = re.subn(r"(?m)^ *auth_basic.*\n", "", block)
        assert left_out == 2
    return block


@contextmanager
def proxied(top: Path, nginx_asks: bool) -> Iterator[tuple[str, str]]:
    """nginx before the page; the address of nginx and the page's own."""
    nginx, port = program("nginx"), free_port()
    config = top / ("nginx-asks.yaml" if nginx_asks else "page-asks.yaml")
    options = ("--jobs", str(top / "jobs"), "--config", str(config), "--behind-proxy")
    root = top / ("read" if nginx_asks else "data")
    with served(root, *options, log=config.with_suffix(".log")) as page:
        lines = ["daemon off;", "worker_processes 1;", f"pid {top}/nginx.pid;", f"error_log {top}/error.log;"]
        lines += ["user root;"] if os.geteuid() == 0 else []  # else its workers could not read this folder
        http = [f"{name}_temp_path {top}/{name};" for name in TEMPORARY]
        http += ["access_log off;", documented(top, page, port, nginx_asks)]
        lines += ["events {}", "http {", *http, "}"]
        (top / "nginx.conf").write_text("\n".join(lines))
        with subprocess.Popen([nginx, "-e", top / "error.log", "-c", top / "nginx.conf"]) as process:
            try:
                listening(port, process, top / "error.log")
                yield f"https://{NAME}:{port}", page
            finally:
                process.terminate()


def listening(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def accepts() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 5).close()
            return True
        return False

    wait_until(accepts)


def asked(
    address: str, path: str, body: str | None = None, source: str = "127.0.0.1", **headers: str
) -> tuple[int, HTTPMessage]:
    """One request over TLS; its status and headers."""
    place = urlsplit(address)
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(
        "127.0.0.1", place.port, timeout=EVENT_S, source_address=(source, 0), context=unchecked
    )
    with closing(connection):
        named = {"Host": place.netloc} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, body, named)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers


@contextmanager
def visitor(address: str, **options: Any) -> Iterator[Any]:
    """A page of a browser for which the name leads to nginx."""
    with browser(f"--host-resolver-rules=MAP {NAME} 127.0.0.1") as chrome:
        context = chrome.new_context(ignore_https_errors=True, **options)
        page = context.new_page()
        page.set_default_timeout(1000 * EVENT_S)
        page.goto(address)
        yield page
        context.close()


@pytest.fixture(scope="module")
def page_asks(top: Path) -> Iterator[str]:
    with proxied(top, nginx_asks=False) as (address, _):
        yield address


def test_each_client_waits_for_its_own_wrong_passwords_whatever_it_forges(page_asks: str) -> None:
    def tried(source: str, **headers: str) -> int:
        return asked(page_asks, "/login", "password=wrong", source, **headers)[0]

    forged = [tried("127.0.0.2", X_Forwarded_For=f"198.51.100.{each}") for each in range(4)]
    assert forged == [401, 429, 429, 429]
    assert tried("127.0.0.3") == 401
    status, answer = asked(page_asks, "/login", f"password={PASSWORD}", "127.0.0.4", X_Forwarded_Proto="http")
    assert status == 303
    assert "; Secure" in str(answer["set-cookie"])


def test_a_visitor_logs_in_asks_about_an_upload_and_logs_out(page_asks: str) -> None:
    with visitor(page_asks) as page:
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("There are no records yet.").wait_for()  # came through the websocket
        cookies = {each["name"]: each for each in page.context.cookies()}
        assert all(each["secure"] for each in cookies.values())
        assert cookies["scanmill"]["httpOnly"]
        page.get_by_role("link", name="Ask").click()
        page.locator("input[type=file]").first.set_input_files(str(PICTURE))
        page.get_by_text(PICTURE.name).first.wait_for()
        field = page.get_by_test_id("stChatInputTextArea")
        field.fill("What is this?")
        end = time.monotonic() + EVENT_S
        while field.input_value():  # Enter does nothing while the picture is on its way
            assert time.monotonic() < end
            field.press("Enter")
            page.wait_for_timeout(200)
        page.get_by_text("A receipt of a bakery.").wait_for()
        page.get_by_role("link", name="Log out").click()
        page.get_by_label("Password").wait_for()
        stolen = f"scanmill={cookies['scanmill']['value']}"
        assert asked(page_asks, "/_stcore/host-config", Cookie=stolen)[0] == 401
        page.goto(f"{page_asks}/ask")
        page.get_by_label("Password").wait_for()


def committed(top: Path) -> Path:
    """The file of a record that waits for review."""
    job = next(job for job in load_jobs(top / "jobs") if job.name == "bill")
    document = Document("0" * 64, "one.pdf", Path(), "bill", datetime(2026, 11, 22, tzinfo=UTC), 3)
    told = {"run": "night", "job_digest": job.digest}
    missing = (Issue("doubtful", "number", "is sure to 0.20 only"),)
    record = Record(document, "bill", None, (1,), {"number": "A"}, {"number": 0.2}, {}, missing, None, told)
    table = JobTable(top / "read", job)
    table.add(RecordStore(top / "read").commit([record]))
    table.flush()
    return top / "read" / record_file("bill", document.id, None)


def test_where_nginx_asks_for_the_password_nobody_passes_beside_it(top: Path) -> None:
    record = committed(top)
    with proxied(top, nginx_asks=True) as (address, own):
        assert asked(address, "/")[0] == 401
        assert asked(address, "/_stcore/stream", X_Forwarded_User="ada")[0] == 401
        who = {"http_credentials": {"username": "ada", "password": PASSWORD}}
        with visitor(address, extra_http_headers={"X-Forwarded-User": "Mallory"}, **who) as page:
            page.locator("tbody tr", has_text="one.pdf").click()
            page.locator("#review h2", has_text="one.pdf").wait_for()
            page.keyboard.press("Control+Enter")
            page.get_by_text("Saved").wait_for()
            assert not page.get_by_role("link", name="Log out").count()
        assert json.loads(record.read_text())["approved"]["by"] == "ada"
        other = HTTPConnection(urlsplit(own).netloc, timeout=EVENT_S, source_address=("127.0.0.1", 0))
        with closing(other):
            other.request("GET", "/", headers={"Host": "evil.example"})  # a name that was bound to 127.0.0.1
            assert other.getresponse().status == 421
