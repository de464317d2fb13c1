"""Named recipes: a flat TOML file each, in this folder.

A file that is added here is known by its name at once; `mixer train --help` shows its first line.
"""

from pathlib import Path

from mlpmixer.toml_files import find_toml
from mlpmixer.training.recipe import Recipe

RECIPES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""The files of the named recipes."""


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or the one in that TOML file.

    Raises:
        UsageError: neither is there, or the file cannot be read or has a field that is unknown.
    """
    return Recipe.from_toml(find_toml(name, "recipe", RECIPES))


def purposes() -> dict[str, str]:
    """Return what each named recipe is for, by the first comment line of its file."""
    return {
        name: path.read_text().splitlines()[0].removeprefix("#").strip()
        for name, path in RECIPES.items()
    }
