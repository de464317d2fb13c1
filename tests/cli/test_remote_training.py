"""A training from a web server, by the command: to its end, and resumed from the middle."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from range_server import serving
from sklearn.datasets import load_digits
from training_steps import TrainingSteps

import mlpmixer
from mlpmixer.cli.main import main

STEPS = 10  # of which an epoch has five
TINY = [
    *("--recipe", "quick", "--model", "mixer_nano", "--depth", "1", "--width", "16"),
    *("--patch-size", "2", "--steps", str(STEPS), "--batch-size", "32", "--evaluations", "2"),
    *("--cache", "none", "--workers", "1", "--device", "cpu"),
]


def write(folder: Path, kind: str, split: str, numbers: range) -> None:
    digits = load_digits()
    samples = []
    for number in numbers:
        buffer = io.BytesIO()
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(buffer, "PNG")
        samples.append((buffer.getvalue(), int(digits.target[number])))
    path = folder / f"{split}-0.{kind}"
    if kind == "parquet":
        table = {"image": [{"bytes": one} for one, _ in samples], "label": [n for _, n in samples]}
        pq.write_table(pa.table(table), path, row_group_size=40)
        return
    with tarfile.open(path, "w") as tar:
        for number, (image, label) in enumerate(samples):
            for name, body in ((f"{number}.png", image), (f"{number}.cls", b"%d" % label)):
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))


def losses(out: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(one["step"], one["loss"]) for one in records if "loss" in one]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_remote_training_is_resumed_from_the_middle_to_the_same_bits(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    training_steps: TrainingSteps,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLPMIXER_DATA", str(tmp_path / "kept"))
    files, whole, run = tmp_path / "files", tmp_path / "whole", tmp_path / "run"
    files.mkdir()
    write(files, kind, "train", range(160))
    write(files, kind, "validation", range(160, 200))
    with serving(files) as server:
        data = f"{server.url}/{{train,validation}}-0.{kind}"
        command = ["train", *TINY, "--data", data]
        assert main([*command, "--out", str(whole)]) == 0
        training_steps.taken.clear()
        training_steps.interrupt_at = 8  # in the middle of the second epoch
        assert main([*command, "--out", str(run)]) == 130
        training_steps.interrupt_at = None
        assert main(["train", "--resume", str(run)]) == 0
        assert training_steps.taken == list(range(STEPS))
        capsys.readouterr()
        assert main(["eval", str(run), "--workers", "0", "--json"]) == 0
        measured = json.loads(capsys.readouterr().out)
    assert losses(run) == losses(whole)
    one, other = (mlpmixer.load(out).state_dict() for out in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert measured["images"] == 40
    assert measured["data"] == data
