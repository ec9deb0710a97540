"""Nothing leaves the machine: `watch` and the page under a trace of their system calls; every start sets the switches.

tests/integration/test_demo.py traces the demo in the same way.
"""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.core.offline import SWITCHES
from tests.support.browsing import free_port
from tests.support.traced import PROJECT, Trace, needs_strace, traced
from tests.support.waiting import wait_until

CONTRARY = {each.variable: "true" if each.value == "false" else "0" for each in SWITCHES}
SAY = "import socket, subprocess, sys, os, threading; UDP = (socket.AF_INET, socket.SOCK_DGRAM); "
BEYOND = {
    "a datagram": "socket.socket(*UDP).sendto(b'x', ('192.0.2.1', 9))",
    "sendmsg": "socket.socket(*UDP).sendmsg([b'x'], [], 0, ('192.0.2.1', 9))",
    "a connection of a thread": "threading.Thread(target=socket.socket(*UDP).connect, args=[('192.0.2.1', 9)]).start()",
    "a connection over IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(('2001:db8::1', 9))",
    "an IPv4 address within IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(('::ffff:192.0.2.1', 9))",
    "a name": "socket.getaddrinfo('scanmill.invalid', 80)",
    "a resolver on loopback": "socket.socket(*UDP).sendto(b'x', ('127.0.0.53', 53))",
    "a resolver behind a socket": "socket.socket(socket.AF_UNIX).connect('/run/systemd/resolve/io.systemd.Resolve')",
    "sendmmsg": "import ctypes; there = ctypes.create_string_buffer(b'\\2\\0\\0\\11\\xc0\\0\\2\\1', 16);"
    " head = (ctypes.c_void_p * 8)(ctypes.addressof(there), 16);"
    " ctypes.CDLL(None).sendmmsg(socket.socket(*UDP).fileno(), head, 1, 0)",
    "a listener for all": "socket.socket().bind(('0.0.0.0', 0))",
    "another family": "import ctypes; there = ctypes.create_string_buffer(b'\\50', 16);"  # AF_VSOCK, to a hypervisor
    " ctypes.CDLL(None).connect(socket.socket(*UDP).fileno(), there, 16)",
    "a ring": "import ctypes; sys.exit(ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(256)) < 0)",
    "a helper that goes on alone": "os.fork() or (os.setsid(), os.execlp(sys.executable, sys.executable, '-c',"
    " 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((\"192.0.2.1\", 9))'))",
}
WITHIN = """
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname())
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(("::1", 9))
near = socket.socket(socket.AF_UNIX)
near.bind(sys.argv[1] + "/near")
near.listen()
socket.socket(socket.AF_UNIX).connect(sys.argv[1] + "/near")
"""
CHANGES = """
inside, outside = sys.argv[1:]
open(inside + "/kept", "w").close()
open(outside + "/opened", "a").close()
open(inside + "/moved", "w").close()
os.rename(inside + "/moved", outside + "/renamed")
os.symlink(inside, outside + "/linked")
os.chdir(outside)
os.mkdir("relative")
os.open("below", os.O_WRONLY | os.O_CREAT, dir_fd=os.open(".", os.O_RDONLY))
os.unlink("opened")
try:
    open("/sys/refused", "w")
except OSError:
    pass
open(outside + "/below").read()
"""


def run(code: str, tmp_path: Path, *words: str | Path, refused: bool = False) -> Trace:
    needs_strace()
    command = [sys.executable, "-I", "-c", SAY + "\n" + code, *words]
    with traced(command, tmp_path / "calls", tmp_path, refused=refused) as trace:
        trace.process.wait(60)
    return trace


@pytest.mark.parametrize("code", BEYOND.values(), ids=BEYOND.keys())
def test_the_trace_sees_every_way_out(code: str, tmp_path: Path) -> None:
    trace = run(code, tmp_path, refused=True)
    if "syscall(425" in code and trace.process.returncode and not trace.reached():
        pytest.skip("io_uring is not allowed here")
    assert trace.reached()


def test_the_trace_takes_loopback_and_unix_sockets_for_what_they_are(tmp_path: Path) -> None:
    trace = run(WITHIN, tmp_path, tmp_path)
    assert trace.process.returncode == 0
    assert trace.reached() == []


def test_the_trace_sees_every_change_of_a_file(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    trace = run(CHANGES, tmp_path, inside, outside)
    assert trace.process.returncode == 0
    names = [outside / name for name in ("below", "linked", "opened", "renamed")]
    relative = [PROJECT / name for name in ("opened", "relative")]  # where it is not known to what
    assert trace.changed(inside) == sorted(map(str, ["/sys/refused", *names, *relative]))


@contextmanager
def unswitched(place: Path) -> Iterator[Trace]:
    """onnxruntime alone, without its switch and without a network: it tells how long it takes until it calls out."""
    place.mkdir()
    words = [sys.executable, "-I", "-c", "import onnxruntime, time; time.sleep(300)"]
    with traced(words, place / "calls", place, refused=True) as trace:
        yield trace


def test_onnxruntime_without_its_switch_calls_out_and_writes_below_home(tmp_path: Path) -> None:
    """So the tests below would see it, if the switch were not set."""
    needs_strace()
    with unswitched(tmp_path / "control") as control:
        wait_until(control.reached)
    assert any("/.cache" in path for path in control.changed())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trace]:
    """A root in which `watch` read a document with the CPU engine, and the trace of it.

    It was kept until onnxruntime without its switch, started after it, had called out.
    """
    needs_strace()
    top = tmp_path_factory.mktemp("watched")
    root = top / "root"
    (root / "inbox" / "invoices").mkdir(parents=True)
    (top / "tmp").mkdir()
    (top / "config.yaml").write_text("engine: ocr\nworkers: 1\nsettle_s: 0\n")
    with traced(command("watch", top), top / "watch", top / "tmp", **CONTRARY) as trace:
        shutil.copy(PROJECT / "samples" / "invoices" / "english_two_pages.pdf", root / "inbox" / "invoices")
        wait_until(lambda: list((root / "done").rglob("*.pdf")))
        with unswitched(top / "control") as control:
            wait_until(control.reached)
        assert trace.stop() == 130
    return top, trace


def command(verb: str, top: Path) -> list[str | Path]:
    return [sys.executable, "run_batch.py", verb, "--root", top / "root", "--config", top / "config.yaml"]


def test_watch_and_the_cpu_engine_stay_on_this_machine(watched: tuple[Path, Trace]) -> None:
    top, trace = watched
    assert trace.processes() >= 3  # the run, its decoder, its reader
    assert trace.reached() == []
    assert trace.changed(top / "root", top / "tmp", "/dev", "/proc") == []


def test_the_page_stays_on_this_machine(watched: tuple[Path, Trace], chrome: Any) -> None:
    top, _ = watched
    port = free_port()
    with traced([*command("web", top), "--port", str(port)], top / "web", top / "tmp", **CONTRARY) as trace:
        wait_until(lambda: answers(port))
        visit(chrome, f"http://127.0.0.1:{port}")
        assert trace.stop() == -signal.SIGTERM  # which the server raises again once it has ended
    assert trace.reached() == []
    assert trace.changed(top / "root", top / "tmp", "/dev", "/proc") == []


def test_the_gpu_engine_in_its_own_process_stays_on_this_machine(tmp_path: Path) -> None:
    """With tiny weights, on the CPU: the libraries are those of the GPU."""
    needs_strace()
    from tests.support import qwen_tiny

    root, temporary, jobs = tmp_path / "root", tmp_path / "tmp", tmp_path / "jobs"
    for folder in (root / "inbox" / "note", temporary, jobs):
        folder.mkdir(parents=True)
    (jobs / "note.yaml").write_text("preprocess: []\nfields: {kind: {type: choice, options: [bill, letter]}}\n")
    weights = qwen_tiny.folder(tmp_path / "weights", weights=True)
    config = tmp_path / "config.yaml"
    config.write_text(f"engine: qwen_vl\nweights: {weights}\nworkers: 1\nsettle_s: 0\n")
    Image.new("RGB", (60, 40)).save(root / "inbox" / "note" / "a.png")
    words = [sys.executable, "run_batch.py", "--root", root, "--config", config, "--jobs", jobs]
    with traced(words, tmp_path / "calls", temporary, CUDA_VISIBLE_DEVICES="", **CONTRARY) as trace:
        assert trace.process.wait() == 0
    assert list((root / "done").rglob("a.png"))
    assert trace.reached() == []
    assert trace.changed(root, temporary, "/dev", "/proc") == []


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
            return True
    except OSError:
        return False


def visit(chrome: Any, address: str) -> None:
    """A record beside its page, a question's form and the runs."""
    page = chrome.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.locator("tbody tr", has_text="english_two_pages.pdf").click()
    page.wait_for_selector("#review .viewer[data-shown]")
    for name in ("Ask", "Runs"):
        page.get_by_role("link", name=name).click()
        page.get_by_role("heading").first.wait_for()
    page.close()


BENCHMARKS = ("accuracy", "gpu", "pipeline", "tables")
STARTS = ["run_batch.py", "pipeline/system/worker_process.py", "models/supervision/engine_host.py",
          "models/ocr/engine.py", "web/serve.py",
          *(f"benchmarks/{name}.py" for name in BENCHMARKS)]  # fmt: skip
LOOK = """
import os, runpy, sys
from importlib.abc import MetaPathFinder

class Look(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in {libraries!r} and any(os.environ[key] != value for key, value in {switches!r}.items()):
            raise AssertionError(name + " is imported before its switch is set")

sys.meta_path.insert(0, Look())
sys.path[:0] = [os.path.dirname(sys.argv[1]), os.getcwd()]
runpy.run_path(sys.argv[1], run_name="looked_at")
assert all(os.environ[key] == value for key, value in {switches!r}.items()), "not every switch is set"
"""


@pytest.mark.parametrize("start", STARTS)
def test_every_start_sets_the_switches_before_a_library_can_read_them(start: str) -> None:
    if "gpu" in start:
        pytest.importorskip("torch", reason="needs torch: pip install -e '.[test-gpu]'")
    switches = {each.variable: each.value for each in SWITCHES}
    code = LOOK.format(libraries=sorted({each.library for each in SWITCHES} - {""}), switches=switches)
    done = subprocess.run(
        [sys.executable, "-c", code, start], cwd=PROJECT, env=os.environ | CONTRARY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_library_that_was_imported_before_is_named() -> None:
    code = "import onnxruntime, pipeline"
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "0", "CI": "1", "GITHUB_ACTIONS": "true"}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert "onnxruntime: imported before Scanmill" in done.stderr
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
