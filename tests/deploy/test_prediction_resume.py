"""A prediction that is killed goes on where it was; several processes share one."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from flower_model import NAMES, flower_model, save_pictures

from mlpmixer.cli.main import main
from mlpmixer.deploy.partial_results import PartialResults
from mlpmixer.deploy.prediction_stream import Row
from mlpmixer.deploy.predictor import Prediction
from mlpmixer.errors import UsageError

PATIENCE = 300  # seconds, until a process that hangs is given up


def lines(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("rows-*.jsonl"))


def arguments(model: Path, pictures: Path, out: Path, *more: str) -> list[str]:
    given = [str(model), str(pictures), "--out", str(out), "--engine", "eager"]
    return ["predict", *given, "--batch-size", "2", *more]


def started(given: list[str], **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "mlpmixer", *given],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "flowers.safetensors"
    flower_model().save(path)
    return path


def table(out: Path) -> list[list[str]]:
    with out.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe holds the process up")
def test_a_killed_prediction_goes_on_and_every_row_is_there_once(
    model: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "answers.csv"
    paths = save_pictures(photos, 9)
    assert main(arguments(model, photos, tmp_path / "whole.csv")) == 0
    slow = paths[6]
    content = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)  # read_bytes waits here for what never comes
    command = ["predict", str(model), *map(str, paths), "--out", str(out), "--engine", "eager"]
    command += ["--batch-size", "2"]
    process = started(command)
    partial = PartialResults.beside(out)
    deadline = time.monotonic() + PATIENCE
    while lines(partial) < 6:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    before = lines(partial)
    assert before == 6
    with next(partial.glob("rows-*.jsonl")).open("ab") as file:
        file.write(b"[6, [[0, 0.")  # as a kill in the middle of a line leaves it

    writer = threading.Thread(target=slow.write_bytes, args=(content,))
    writer.start()
    assert main([*command, "--resume"]) == 0
    writer.join()
    assert not partial.exists()
    assert table(out) == table(tmp_path / "whole.csv")


def interrupted(model: Path, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict until the final file is to be written; then Ctrl-C."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlpmixer.deploy.predict.write_rows", stop)
        assert main(arguments(model, photos, out)) == 130
    assert PartialResults.beside(out).exists()
    assert not out.exists()


def test_what_has_changed_since_is_named(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "answers.jsonl"
    first, *_ = save_pictures(photos, 3)
    interrupted(model, photos, out, monkeypatch)
    assert "--resume goes on" in capsys.readouterr().out

    def refusal(*more: str) -> str:
        capsys.readouterr()
        assert main(arguments(model, photos, out, *more)) == 2
        return capsys.readouterr().err

    assert "holds an interrupted prediction: go on with it by --resume" in refusal()
    assert "--top (3, now 2) changed" in refusal("--resume", "-k", "2")
    assert "--flip (False, now True) changed" in refusal("--resume", "--flip")
    first.rename(photos / "renamed.png")
    assert "the pictures changed" in refusal("--resume")
    (photos / "renamed.png").rename(first)
    flower_model(seed=1).save(model)
    assert "the model changed" in refusal("--resume")
    flower_model(names=("a", "b", "c")).save(model)
    assert "the names of its classes" in refusal("--resume")
    flower_model().save(model)
    assert main(arguments(model, photos, out, "--resume")) == 0
    assert [json.loads(line)["picture"] for line in out.read_text().splitlines()] == sorted(
        str(path) for path in photos.iterdir()
    )
    assert "nothing of it is left to do" in refusal("--resume")
    assert not PartialResults.beside(out).exists()


@pytest.mark.parametrize("resume", [True, False])
def test_two_predictions_into_one_file_do_not_mix(resume: bool, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    partial = PartialResults(PartialResults.beside(out), NAMES)
    partial.begin({"--top": 1}, out, resume=False)
    other = PartialResults(PartialResults.beside(out), NAMES)
    with pytest.raises(UsageError, match="another process is at work"):
        other.begin({"--top": 1}, out, resume=resume)
    partial.close()
    other.begin({"--top": 1}, out, resume=True)
    other.close()


ROW = Row(0, (Prediction(NAMES[0], 0, 0.5),))


def test_rows_without_what_decided_on_them_are_those_of_no_run(tmp_path: Path) -> None:
    for resume in (False, True):
        part = PartialResults(tmp_path / "x.partial", NAMES)
        part.begin({"the model": "one"}, tmp_path / "x", resume=False)
        part.open(0)
        part.append([ROW])
        part.close()
        (tmp_path / "x.partial" / "run.json").unlink()
        again = PartialResults(tmp_path / "x.partial", NAMES)
        again.begin({"the model": "another"}, tmp_path / "x", resume=resume)
        assert not again.done(1).any()
        again.remove()
        assert not list(tmp_path.iterdir())


def test_a_removal_that_is_killed_leaves_no_rows_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException): ...

    removed: list[str] = []
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == last:
            raise Killed
        removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    for last in range(4):
        removed.clear()
        part = PartialResults(tmp_path / "x.partial", NAMES)
        part.begin({"the model": "one"}, tmp_path / "x", resume=False)
        part.open(0)
        part.append([ROW])
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            with suppress(Killed):
                part.remove()
        part.close()
        if last:  # what is told of the rows has gone
            again = PartialResults(tmp_path / "x.partial", NAMES)
            again.begin({"the model": "another"}, tmp_path / "x", resume=True)
            assert not again.done(1).any()
            again.close()
        shutil.rmtree(tmp_path / "x.partial")


def test_nobody_begins_while_a_finished_prediction_is_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = PartialResults(tmp_path / "x.partial", NAMES)
    part.begin({}, tmp_path / "x", resume=False)
    part.open(0)
    unlink = Path.unlink
    refused = []

    def meanwhile(path: Path, missing_ok: bool = False) -> None:
        other = PartialResults(tmp_path / "x.partial", NAMES)
        with pytest.raises(UsageError, match="another process is at work"):
            other.begin({}, tmp_path / "x", resume=False)
        refused.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", meanwhile)
        part.remove()
    assert refused[:2] == ["run.json", "rows-000000-0.jsonl"]
    assert not list(tmp_path.iterdir())


def test_rows_of_several_starts_and_processes_come_in_order_each_once(tmp_path: Path) -> None:
    def row(position: int) -> Row:
        return Row(position, (Prediction(NAMES[position % 3], position % 3, 0.5),))

    folder = tmp_path / "x.partial"
    for start in ([0, 4], [1, 3]), ([2], [4, 5]):
        parts = [PartialResults(folder, NAMES) for _ in start]
        parts[0].begin({}, tmp_path / "x", resume=True)
        for rank, (part, positions) in enumerate(zip(parts, start, strict=True)):
            part.open(rank)
            part.append(map(row, positions))
        for part in parts:
            part.close()
    part = PartialResults(folder, NAMES)
    assert list(part.rows()) == [row(position) for position in range(6)]
    assert part.done(8).tolist() == [True] * 6 + [False] * 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_processes_share_a_prediction_and_write_one_file(model: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "answers.csv"
    paths = save_pictures(photos, 7)
    paths[2].write_bytes(b"no picture")
    whole = tmp_path / "whole.csv"
    assert main(arguments(model, photos, whole, "--batch-size", "1")) == 1
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    given = arguments(model, photos, out, "--batch-size", "1")
    both = [started(given, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in (0, 1)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [1, 0], said
    assert table(out) == table(whole)
    assert "02.png: not an image" in said[0]
    assert "02.png" not in said[1]
    assert not PartialResults.beside(out).exists()
