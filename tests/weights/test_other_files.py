"""Files that are no weights: each is named, with the remedy, in our own words."""

import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mlpmixer
from mlpmixer.cli.main import main
from mlpmixer.errors import MixerError, UsageError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 239513424\n"
OTHER_FILES = {
    "page.pth": (b"\n<!DOCTYPE html>\n<html><head>", "web page.*Download the file itself"),
    "page.safetensors": (b"<html lang='en'>" + b"x" * 9000, "web page"),
    "feed.npz": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "web page"),
    "answer.pth": (b'{"error":"Repository not found"}', "JSON.*'Repository not found'"),
    "answer.npz": (b'{"name":{"a":2}}', "JSON, not weights"),
    "list.safetensors": (b"[1, 2", "JSON, not weights"),
    "pointer.safetensors": (POINTER, "pointer to a large file.*git lfs pull"),
    "pointer.npz": (POINTER, "pointer to a large file"),
    "empty.npz": (b"", "is empty.*again"),
    "zeros.pth": (b"\0" * 9000, "zeros.*again"),
    "notes.txt": ("Grüße ".encode() * 1000, "is text, not weights: it begins 'Grüße"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + b"1" * 99, "HDF5"),
    "weights.pth.gz": (b"\x1f\x8b\x08" + b"1" * 99, "packed.*unpack it"),
    "one.npy": (b"\x93NUMPY\x01\x00", "a single array"),
    "photo.pth": (b"\xff\xd8\xff\xe0", "a picture"),
    "flax.msgpack": (b"\x81\xa5model\x81\xa1a\xc7\xff\xfe", "msgpack.*not read"),
    "model.ckpt.data-00000-of-00001": (b"\x01\xff\xfe", "TensorFlow.*not read"),
    "noise.bin": (bytes(range(255, 0, -1)) * 20, "unknown kind.*Read are"),
    "mine.pkl": (pickle.dumps({"model": 1}), "a pickle of Python.*might run code"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_that_are_no_weights_are_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = OTHER_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        mlpmixer.load(tmp_path / name)
    assert main(["convert", str(tmp_path / name), str(tmp_path / "out.safetensors")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / name) in line
    assert line.isprintable()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["inside/model.safetensors"], r"unpack it and give 'inside/model\.safetensors'"),
        (["word/document.xml"], "holds no weights"),
        (["m/constants.pkl", "m/data.pkl", "m/code/x.py"], "TorchScript.*never run"),
    ],
)
def test_zip_archives_that_are_no_weights_are_named(
    names: list[str], message: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for name in names:
            archive.writestr(name, b"1")
    with pytest.raises(UsageError, match=message):
        mlpmixer.load(tmp_path / "x.pth")


def write_torch(file: Path, **options: bool) -> None:
    torch.save({"a.weight": torch.ones(100, 100), "b": torch.ones(3)}, file, **options)


def write_ours(file: Path) -> None:
    model = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=2, depth=1)
    mlpmixer.save(model, file)


WRITERS: dict[str, Callable[[Path], None]] = {
    "x.pth": write_torch,
    "old.pth": lambda file: write_torch(file, _use_new_zipfile_serialization=False),
    "x.npz": lambda file: np.savez(file, a=np.ones((100, 100), np.float32), b=np.ones(3)),
    "x.safetensors": write_ours,
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_that_were_cut_off_anywhere_are_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    WRITERS[name](file)
    whole = file.read_bytes()
    for length in (1, 5, 8, 20, 50, 120, 300, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(MixerError) as refused:
            mlpmixer.load(file)
        assert str(file) in str(refused.value)
        assert str(refused.value).isprintable()
        assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize("name", WRITERS)
def test_wherever_a_byte_is_spoilt_no_readers_error_comes_through(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    WRITERS[name](file)
    whole = file.read_bytes()
    for at in range(0, 700, 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(MixerError):
            mlpmixer.load(file)


def test_folders_without_a_model_say_what_could_be_meant(tmp_path: Path) -> None:
    run, other, tensorflow = tmp_path / "run", tmp_path / "other", tmp_path / "tensorflow"
    for folder in (run / "last", other, tensorflow):
        folder.mkdir(parents=True)
    write_ours(run / "model.safetensors")
    (other / "x.pth").touch()
    (tensorflow / "saved_model.pb").touch()
    for folder, message in (
        (run / "last", f"Give the run's folder, {str(run)!r}"),
        (tmp_path, f"Did you mean {str(run)!r}"),
        (other, f"Give one of its files, as in {str(other / 'x.pth')!r}"),
        (tensorflow, "SavedModel of TensorFlow, which is not read"),
    ):
        with pytest.raises(UsageError, match=f"no model in the folder .*{message}"):
            mlpmixer.load(folder)


def test_places_that_are_no_files_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nothing.pth", tmp_path / "pipe"):
        with pytest.raises(UsageError, match=f"no file .*{path.name}"):
            mlpmixer.load(path)


def test_a_safetensors_file_without_tensors_is_named(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"a": "b"}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UsageError, match="holds no tensors"):
        mlpmixer.load(tmp_path / "x.safetensors")
