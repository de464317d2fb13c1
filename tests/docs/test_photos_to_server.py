"""The page "From a folder of photos to a served model" does what it says, command by command."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "photos_to_server.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    commands = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(commands) == 5
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = "\n".join(commands).replace("8000", port)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, call in (("mixer", "-m mlpmixer"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["MLPMIXER_DATA"] = str(tmp_path / "cache")
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs/photos/report.html").exists()
    assert (tmp_path / "answers.html").exists()
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 32
    assert (tmp_path / "photos.onnx").exists()
    assert '"label":"flower"' in done.stdout
