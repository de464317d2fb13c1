"""Overload, slowness, replacement, shutdown: no request is lost, none grows without end."""

import errno
import json
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from flowers import Serve, write_model
from held import Held
from PIL import Image
from server_process import Server
from torch import Tensor

from mlpmixer.cli.main import main
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.deploy.server.app import refresh
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.run import listening
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.values import range_of, type_hints

PREDICT = "/v1/models/flowers/predict"


def test_overload_is_refused_at_once_and_what_was_taken_on_is_answered(
    serve: Serve, pictures: list[bytes], held: Held
) -> None:
    client = serve(load=lambda _: held, queue=4, largest_batch=1)

    def post(content: bytes) -> httpx.Response:
        return client.post(PREDICT, content=content)

    with ThreadPoolExecutor(40) as clients:
        first = clients.submit(post, pictures[0])
        assert held.at_work.wait(10)
        others = [clients.submit(post, pictures[n % 8]) for n in range(40)]
        refused = [one for one in others if _soon(one) == 503]
        assert len(refused) == 37  # 4 are on their way
        for one in refused:
            assert int(one.result().headers["retry-after"]) >= 1
        held.may_go.set()
        answered = [first, *(one for one in others if one not in refused)]
        assert [one.result(30).status_code for one in answered] == [200] * 4
    assert client.post(PREDICT, content=pictures[0]).status_code == 200


def _soon(answer: "object") -> int | None:
    """Return the status of what is answered while the model is held."""
    try:
        return int(answer.result(2).status_code)  # type: ignore[attr-defined]
    except TimeoutError:
        return None


def test_an_answer_that_takes_too_long_is_given_up(
    serve: Serve, pictures: list[bytes], held: Held
) -> None:
    client = serve(load=lambda _: held, seconds=0.2)
    answer = client.post(PREDICT, content=pictures[0])
    assert answer.status_code == 504
    assert "more than 0.2 s" in answer.json()["detail"]
    held.may_go.set()


def test_a_model_whose_file_changes_is_replaced_and_what_is_on_its_way_answered(
    serve: Serve, pictures: list[bytes], tmp_path: Path
) -> None:
    source = write_model(tmp_path / "flowers.safetensors", seed=0)
    client = serve(source=source)
    model = client.app_state["model"]
    before = client.post(PREDICT, content=pictures[0]).json()["pictures"]
    statuses, ended = [], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            statuses.append(client.post(PREDICT, content=pictures[1]).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    assert model.refresh() is False
    write_model(source, seed=1)
    assert model.refresh() is True
    ended.set()
    asking.join()
    assert set(statuses) == {200}
    after = client.post(PREDICT, content=pictures[0]).json()["pictures"]
    assert after != before
    expected = Predictor.load(source, device="cpu", engine="eager")([pictures[0]], k=1)
    assert after[0]["classes"][0]["label"] == expected[0][0].label


def test_a_full_server_refuses_before_it_reads_the_body(
    serve: Serve, pictures: list[bytes], held: Held
) -> None:
    client = serve(load=lambda _: held, queue=1)
    read = []

    def body() -> Iterator[bytes]:
        read.append(True)
        yield pictures[0]

    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(client.post, PREDICT, content=pictures[0])
        assert held.at_work.wait(10)
        for verb in (PREDICT, PREDICT.replace("predict", "explain")):
            refused = client.post(verb, content=body())
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
        held.may_go.set()
        assert first.result(30).status_code == 200
    assert client.post(PREDICT, content=pictures[0]).status_code == 200


def test_two_replacements_at_once_leave_one_model_at_work(
    serve: Serve, pictures: list[bytes], tmp_path: Path
) -> None:
    source = write_model(tmp_path / "flowers.safetensors")
    client = serve(source=source)
    model = client.app_state["model"]
    with ThreadPoolExecutor(4) as together:
        assert all(together.map(lambda _: model.refresh(force=True), range(4)))
    assert client.post(PREDICT, content=pictures[0]).status_code == 200
    at_work = [one for one in threading.enumerate() if one.name == "batches"]
    assert len(at_work) == 1


def test_an_unexpected_failure_to_replace_is_logged_and_tried_again(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    fail = False

    def load(source: str) -> Predictor:
        if fail:
            raise RuntimeError("a defect")
        return Predictor.load(source, device="cpu", engine="eager")

    model = serve(load=load).app_state["model"]
    fail = True
    with caplog.at_level(logging.INFO, logger="mlpmixer.server"):
        refresh(model, force=True)
        fail = False
        refresh(model, force=True)
    told = [(one.message, one.exc_info is not None) for one in caplog.records]
    assert [one for one in told if "replaced" in one[0]] == [
        ("not replaced", True),
        ("replaced", False),
    ]


def test_a_replacement_that_cannot_be_described_leaves_no_thread(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    model = serve().app_state["model"]
    monkeypatch.setattr("mlpmixer.deploy.server.served_model.describe", fail)
    for _ in range(3):
        refresh(model, force=True)
    at_work = [one for one in threading.enumerate() if one.name == "batches"]
    assert len(at_work) == 1


def test_a_broken_file_keeps_the_old_model(
    serve: Serve, pictures: list[bytes], tmp_path: Path
) -> None:
    source = write_model(tmp_path / "flowers.safetensors")
    client = serve(source=source)
    before = client.post(PREDICT, content=pictures[0]).json()["pictures"]
    source.write_bytes(b"broken")
    with pytest.raises(MixerError):
        client.app_state["model"].refresh()
    assert client.post(PREDICT, content=pictures[0]).json()["pictures"] == before
    source.unlink()
    assert client.app_state["model"].refresh() is False


def test_a_defect_is_no_crash(serve: Serve, pictures: list[bytes], model_file: Path) -> None:
    class Broken(Predictor):
        def probabilities(self, pixels: Tensor) -> Tensor:
            raise RuntimeError("a defect")

    client = serve(load=lambda _: Broken.load(model_file, device="cpu", engine="eager"))
    answer = client.post(PREDICT, content=pictures[0])
    assert answer.status_code == 500
    assert "a defect" not in answer.text
    assert client.get("/healthz").status_code == 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    source = write_model(tmp_path / "flowers.safetensors")
    started = Server([str(source)], {"MIXER_API_KEY": "secret"})
    yield started
    started.process.kill()
    started.ended()


def test_a_process_answers_reloads_and_ends_in_order(
    server: Server, pictures: list[bytes], tmp_path: Path
) -> None:
    key = {"Authorization": "Bearer secret"}

    def ask() -> httpx.Response:
        return httpx.post(server.address + PREDICT, content=pictures[0], headers=key, timeout=30)

    assert httpx.post(server.address + PREDICT, content=pictures[0]).status_code == 401
    before = ask().json()["pictures"]
    write_model(tmp_path / "flowers.safetensors", seed=1)
    server.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 30
    while ask().json()["pictures"] == before:
        assert time.monotonic() < until
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    log = server.ended()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"replaced", "request"} <= {line["event"] for line in lines}
    assert server.process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "mixer serve runs/digits"),
        (["no/such/model"], "no/such/model"),
        (["{file}", "{file}"], "two models are called flowers"),
        (["a/b={file}"], "'a/b' cannot stand in an address"),
        (["{file}", "--port", "70000"], "--port 70000"),
        (["{file}", "--megapixels", "200"], "--megapixels 200"),
        (["{file}", "--host", "203.0.113.1"], "cannot listen on 203.0.113.1"),
        (["{file}", "--api-key-file", "missing.key"], "missing.key"),
        (["a={file}", "b={file}", "--class-names", "x"], "single model"),
        (["{text}"], "text"),
    ],
)
def test_wrong_use_is_named(
    arguments: list[str],
    expected: str,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no model")
    filled = [one.format(file=model_file, text=text) for one in arguments]
    assert main(["serve", *filled, *([] if "--port" in filled else ["--port", "0"])]) in (1, 2)
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.strip().splitlines()) == 1


def test_as_many_megapixels_as_may_be_allowed_can_be_read() -> None:
    limits = range_of(type_hints(Limits)["megapixels"])
    assert limits is not None
    assert limits.le is not None
    assert Image.MAX_IMAGE_PIXELS is not None
    assert limits.le * 1e6 <= 2 * Image.MAX_IMAGE_PIXELS  # above that Pillow refuses


def test_a_port_in_use_is_named(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(model_file), "--port", str(port)]) == 2
    assert f"port {port}: Address already in use" in capsys.readouterr().err


def test_a_port_that_another_server_takes_while_models_are_loaded_is_named(
    model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening("127.0.0.1", 0) as other:
        load = Predictor.load

        def load_slowly(*arguments: Any, **options: Any) -> Predictor:
            other.listen()
            return load(*arguments, **options)

        monkeypatch.setattr(Predictor, "load", load_slowly)
        port = other.getsockname()[1]
        assert main(["serve", str(model_file), "--device", "cpu", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"port {port}: Address already in use. Choose another --port" in said


def test_a_family_of_addresses_that_the_machine_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(UsageError, match="cannot listen on ::1, port 8000: Address family"):
        listening("::1", 8000)


def test_a_missing_extra_is_named_with_its_command(
    model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith("mlpmixer.deploy.server.")]:
        if not name.endswith("limits"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", str(model_file)]) == 2
    assert 'pip install "mlpmixer[serve]"' in capsys.readouterr().err
