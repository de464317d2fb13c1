"""What the command does where nobody takes its output, as in `mixer info | head`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


def run(*arguments: str, out: int, **environment: str) -> tuple[int, str]:
    """Return the command's exit status and what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "mlpmixer", *arguments],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["data", "--help"], ["data"]], ids=" ".join)
def test_a_reader_that_has_left_is_told_nothing(arguments: list[str], unbuffered: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        assert run(*arguments, out=theirs, PYTHONUNBUFFERED=unbuffered) == (1, "")
    finally:
        os.close(theirs)


@pytest.mark.skipif(not FULL.exists(), reason="no device that is full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["data"]], ids=" ".join)
def test_a_full_disk_is_named_in_a_line(arguments: list[str], unbuffered: str) -> None:
    with FULL.open("wb") as full:
        status, said = run(*arguments, out=full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert status == 1
    (line,) = said.splitlines()
    assert "No space left on device" in line
