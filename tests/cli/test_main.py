"""The command as a whole: how it is called."""

import subprocess
import sys

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
