"""The verbs: each is one file, and the help finds it."""

from pathlib import Path

import pytest

from mlpmixer import cli
from mlpmixer.cli.main import main
from mlpmixer.cli.verbs import find_verbs

VERB = '''"""`mixer {name}`: {summary}."""


def run(arguments):
    print("was given", *arguments)
    return 3
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files more: a verb and a study, in a folder that counts as part of the command's."""
    (tmp_path / "greet_verb.py").write_text(VERB.format(name="greet", summary="say good morning"))
    (tmp_path / "greet_study.py").write_text(VERB.format(name="study greet", summary="who answers"))
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])


@pytest.mark.usefixtures("added")
def test_a_verb_is_added_by_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "  greet     say good morning\n" in capsys.readouterr().out
    assert main(["greet", "you", "--debug"]) == 3
    assert capsys.readouterr().out == "was given you\n"
    assert main(["gret"]) == 2
    assert "Did you mean greet" in capsys.readouterr().err


@pytest.mark.usefixtures("added")
def test_a_study_is_added_by_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    assert "  greet        who answers\n" in capsys.readouterr().out
    assert main(["study", "greet"]) == 3
    assert main(["study", "gret"]) == 2
    assert "unknown study 'gret'. Did you mean greet?" in capsys.readouterr().err


@pytest.mark.parametrize("within", ["", "study"])
def test_every_verb_is_shown_with_its_summary(
    within: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*within.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    verbs = find_verbs(within)
    assert len(verbs) >= 3
    for name, verb in verbs.items():
        assert f"  {name} " in shown
        assert verb.summary in shown


@pytest.mark.parametrize("verb", [name for name in find_verbs("") if name != "study"])
def test_no_help_shows_an_empty_default(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "default: )" not in " ".join(capsys.readouterr().out.split())
