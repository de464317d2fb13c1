"""Files of recipes, suites and grids that a user names: each mistake is told in a line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlpmixer.errors import UsageError
from mlpmixer.studies.option_grid import find_grid
from mlpmixer.suites.definition import find_suite
from mlpmixer.training.recipes import find_recipe


def missing(path: Path) -> None:
    """Leave it out."""


def not_toml(path: Path) -> None:
    path.write_text("epochs 2")


def not_utf8(path: Path) -> None:
    path.write_bytes(b'about = "caf\xe9"')


def unreadable(path: Path) -> None:
    """Make what not even root can open."""
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("kind", "find"), [("recipe", find_recipe), ("suite", find_suite), ("grid", find_grid)]
)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "no {kind} file '{path}'"),
        (Path.mkdir, "{path} is a folder: give a TOML file"),
        (unreadable, "cannot read {path}: "),
        (not_toml, "{path} is not a TOML file: "),
        (not_utf8, "{path} is not a TOML file: "),
    ],
)
def test_a_file_that_cannot_be_taken_is_named(
    kind: str,
    find: Callable[[str], object],
    make: Callable[[Path], object],
    message: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.toml"
    make(path)
    with pytest.raises(UsageError) as caught:
        find(str(path))
    assert str(caught.value).startswith(message.format(kind=kind, path=path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("find", [find_recipe, find_suite, find_grid])
def test_a_folder_by_a_name_that_ends_in_a_slash_is_named(
    find: Callable[[str], object], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is a folder: give a TOML file"):
        find(f"{tmp_path}/")
