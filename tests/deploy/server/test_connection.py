"""Connections: one that brings no request is closed, one that does is kept."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from server_process import Server

ASK = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
LARGE = b"POST /nothing HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"


@pytest.fixture(scope="module")
def server(model_file: Path) -> Iterator[Server]:
    started = Server([str(model_file), "--seconds", "1"], {})
    yield started
    started.process.terminate()
    started.ended()


def connected(server: Server) -> socket.socket:
    address = urlsplit(server.address)
    assert address.hostname is not None
    assert address.port is not None
    return socket.create_connection((address.hostname, address.port), timeout=20)


def answered(connection: socket.socket, request: bytes) -> bytes:
    """Send a request, and return the status of its answer."""
    connection.sendall(request)
    said = b""
    while b"}" not in said:
        part = connection.recv(4096)
        assert part
        said += part
    return said.split(maxsplit=2)[1]


@pytest.mark.parametrize("sent", [b"", b"GET /heal", ASK])
def test_a_connection_without_a_whole_request_is_closed(server: Server, sent: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("sent", [b"GET /heal", ASK])
def test_a_connection_that_stops_in_a_later_request_is_closed(server: Server, sent: bytes) -> None:
    with connected(server) as connection:
        assert answered(connection, ASK + b"\r\n") == b"200"
        assert answered(connection, ASK + b"\r\n") == b"200"
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_a_connection_whose_body_goes_on_after_the_answer_is_closed(server: Server) -> None:
    with connected(server) as connection:
        assert answered(connection, LARGE + b"\r\n") == b"404"
        connection.sendall(b"part")
        assert connection.recv(1) == b""
