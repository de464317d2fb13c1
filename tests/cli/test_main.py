"""The command as a whole: how it is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpmixer.cli.main import main


def test_python_m_mlpmixer_is_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    output = subprocess.run(
        [sys.executable, "-m", "mlpmixer"], capture_output=True, text=True, check=True
    )
    assert main([]) == 0
    assert output.stdout == capsys.readouterr().out
    wrong = subprocess.run([sys.executable, "-m", "mlpmixer", "trian"], capture_output=True)
    assert wrong.returncode == 2


@pytest.mark.parametrize("verb", ["convert", "inspect"])
def test_a_path_that_the_system_refuses_is_named_in_a_line(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "long" * 100
    assert main([verb, name, *["x.safetensors"] * (verb == "convert")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"mixer: cannot use {name}: File name too long."
    with pytest.raises(OSError, match=name):
        main([verb, name, *["x.safetensors"] * (verb == "convert"), "--debug"])


def test_a_folder_that_cannot_be_listed_lacks_what_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    assert main(["convert", str(tmp_path / "model.npz"), "x.safetensors"]) == 2
    assert f"{tmp_path / 'model.npz'}" in capsys.readouterr().err
