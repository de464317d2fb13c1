"""A web server on 127.0.0.1 that answers ranges of bytes and can be made to fail."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Behaviour:
    """How the server answers from now on."""

    url: str = ""
    refuse: int = 0
    """The status of every answer; 0: the usual ones."""
    fail_next: int = 0
    """Requests for content that are answered by 503."""
    stall_next: int = 0
    """Requests for content that get half of their answer, and then nothing."""
    cut_next: int = 0
    """Requests for content that get half of their answer, and then the end of the connection."""
    marks: dict[str, str] = field(default_factory=lambda: {"Last-Modified": ""})
    """Headers that tell a file's versions apart; Last-Modified is the file's own unless given."""
    requests: list[str] = field(default_factory=list)
    """Paths and ranges of content that were asked for."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with 5, connections of many processes wait for seconds


@contextmanager
def serving(folder: Path, stall_seconds: float = 2.0) -> Iterator[Behaviour]:
    """Serve the files of a folder."""
    behaviour = Behaviour()
    lock = threading.Lock()

    def due(name: str) -> bool:
        with lock:
            left = getattr(behaviour, name)
            setattr(behaviour, name, max(0, left - 1))
        return left > 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(content=False)

        def do_GET(self) -> None:
            self._answer(content=True)

        def _answer(self, *, content: bool) -> None:
            path = folder / self.path.lstrip("/")
            if behaviour.refuse or not path.is_file():
                self._nothing(behaviour.refuse or 404)
                return
            if content and due("fail_next"):
                self._nothing(503)
                return
            body = path.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted:
                begin, end = int(wanted[1]), min(len(body), int(wanted[2]) + 1)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(body)}")
                body = body[begin:end]
            else:
                self.send_response(200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body)))
            for name, mark in behaviour.marks.items():
                self.send_header(name, mark or formatdate(path.stat().st_mtime, usegmt=True))
            self.end_headers()
            if not content:
                return
            behaviour.requests.append(f"{self.path} {self.headers.get('Range', '')}")
            if due("stall_next"):
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                time.sleep(stall_seconds)
                self.close_connection = True
            elif due("cut_next"):
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self.wfile.write(body)

        def _nothing(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    behaviour.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield behaviour
    finally:
        server.shutdown()
        server.server_close()
