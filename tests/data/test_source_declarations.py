"""A source is one file: found, explained and opened by what it declares."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpmixer.cli.main import main
from mlpmixer.data import sources
from mlpmixer.data.sources import check_name, open_source
from mlpmixer.errors import UsageError

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"

ADDED = """
from mlpmixer.data.sources.declaration import Source

SOURCE = Source(
    names=("moons",), help="two moons", prefix="moon:", suffix=".moon",
    in_folder=lambda folder: sorted(folder.glob("*.moon")),
    open=lambda spec, files: opened(spec, files),
)


def opened(spec, files):
    import numpy as np
    from mlpmixer.data.dataset import Dataset
    from mlpmixer.data.splits import ArraySplit

    images = np.zeros((4, 2, 2, 3), np.uint8)
    return Dataset(spec, ("new", "full"), {"train": ArraySplit(images, [0, 1, 0, 1], str(files))})
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lay a module with a new source into a folder of the package's path."""
    folder = tmp_path / "more_sources"
    folder.mkdir()
    (folder / "moons_of_a_test.py").write_text(ADDED)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(folder)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sky").mkdir()
    (tmp_path / "sky" / "a.moon").touch()
    yield folder
    sys.modules.pop("mlpmixer.data.sources.moons_of_a_test", None)


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        ("moons", "[]"),
        ("moon:blue", "[]"),
        ("sky", "[PosixPath('sky/a.moon')]"),
        ("sky/a.moon", "[PosixPath('sky/a.moon')]"),
        ("sky/*.moon", "[PosixPath('sky/a.moon')]"),
    ],
)
def test_a_file_in_the_package_is_opened_by_each_of_its_forms(
    added: Path, spec: str, files: str
) -> None:
    dataset = open_source(spec)
    assert (dataset.spec, dataset.class_names) == (spec, ("new", "full"))
    assert dataset.splits["train"].name(0) == f"{files} image 0"


def test_an_added_source_is_in_the_list_and_in_suggestions(
    added: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data"]) == 0
    assert "moons\n    two moons" in capsys.readouterr().out
    check_name("moons")
    with pytest.raises(UsageError, match="Did you mean moons"):
        check_name("moonz")


@pytest.mark.parametrize("verb", ["train", "data", "finetune"])
def test_an_added_source_is_in_the_help_text(added: Path, verb: str) -> None:
    code = (
        f"from mlpmixer.data import sources; sources.__path__.append({str(added)!r})\n"
        f"from mlpmixer.cli.main import main; main([{verb!r}, '--help'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "moons" in shown
    assert "digits" in shown


def test_declarations_are_read_without_the_heavy_libraries() -> None:
    heavy = ("torch", "torchvision", "numpy", "pyarrow", "datasets", "sklearn", "PIL")
    code = (
        "import sys; from mlpmixer.data.sources import forms, sources\n"
        f"forms(); print([name for name in {heavy!r} if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stderr


def test_the_guide_has_a_row_for_each_source_as_it_is_declared() -> None:
    guide = GUIDE.read_text()
    for source in sources.sources():
        written = ", ".join(f"`{form}`" for form in source.forms)
        assert f"| {written} | {source.help} |" in guide


def test_names_and_prefixes_are_declared_once() -> None:
    declared = sources.sources()
    for kind in ("names", "forms"):
        every = [one for source in declared for one in getattr(source, kind)]
        assert len(every) == len(set(every))
