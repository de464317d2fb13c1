"""Results as tables."""

import io

import pytest

from mlpmixer.cli.table import print_table
from mlpmixer.run.console import Console


def test_names_on_a_terminal_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    console = Console("live", out=io.StringIO())
    names = ["a [fine]", "x[/b].png", ":smile:"]
    print_table(console, {}, ["picture [1]", "top"], [[name, "1"] for name in names], [], left=1)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in shown] == ["picture [1]", *names]
