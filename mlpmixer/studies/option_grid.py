"""The options of a search, as a TOML file lists them, and the candidates that follow from them.

A key of the table `grid` is a field of the recipe with a list of values, or any name with a list
of tables, each of several fields that belong together:

    [grid]
    weight_decay = [0.05, 0.2]
    mixing = [{}, { mixup_alpha = 0.2 }, { mixup_alpha = 0.2, cutmix_alpha = 1.0 }]
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.randomness import derived_seed
from mlpmixer.toml_files import find_toml, read_toml
from mlpmixer.training.recipe import Recipe, flat_fields
from mlpmixer.training.state import flat_values
from mlpmixer.values import checked_value

INCLUDED = {path.stem: path for path in sorted(Path(__file__).parent.glob("grids/*.toml"))}
"""The grids that come with the package, by name."""
AS_IT_IS = "as-it-is"
"""The candidate that changes nothing."""
MOST = 1000
"""Combinations that are taken without being asked how many."""
_LONGEST_NAME = 120
_CHOSEN_ELSEWHERE = (
    *("data", "splits", "validation_fraction", "seed", "epochs", "steps", "minutes"),
    *("evaluations", "device", "workers", "cache", "max_unreadable"),
)

Fields = Mapping[str, Any]
"""Values of a recipe's fields, by their flat names."""


@dataclass(frozen=True)
class Candidate:
    """A recipe to try, as what it changes in the one that the search starts from."""

    changes: Fields
    """Only fields that differ."""
    places: tuple[int, ...] | None
    """Which choice of each axis it takes, counted from 0; None where the grid does not hold it."""

    @property
    def name(self) -> str:
        """What it changes, also the name of a folder: "mixup_alpha=0.2+repeats=3"."""
        if not self.changes:
            return AS_IT_IS
        parts = (f"{name}={in_words(value)}" for name, value in self.changes.items())
        whole = "+".join(parts).replace("/", "-").replace(":", "-")
        if len(whole) <= _LONGEST_NAME:
            return whole
        digest = blake2b(whole.encode(), digest_size=4).hexdigest()
        return f"{whole[: _LONGEST_NAME - 9]}-{digest}"


@dataclass(frozen=True)
class OptionGrid:
    """What a search varies."""

    axes: Mapping[str, tuple[Fields, ...]]
    """By name, the choices of each, of which a candidate takes one."""

    @property
    def combinations(self) -> int:
        """How many there are."""
        return math.prod(map(len, self.axes.values()))

    def candidates(self, base: Recipe, most: int | None = None) -> tuple[Candidate, ...]:
        """Return the recipe as it is, and after it all combinations, or some drawn at random.

        Combinations that come to the same recipe are one candidate.

        Args:
            base: the recipe that they change.
            most: how many combinations to draw, where there are more; always the same ones.

        Raises:
            UsageError: a combination is no recipe, or there are more than MOST and `most` is None.
        """
        total = self.combinations
        if most is None and total > MOST:
            raise UsageError(
                f"the grid has {total:,} combinations: say how many of them to draw at random, "
                "such as --candidates 27."
            )
        chosen = range(total)
        if most is not None and most < total:
            chance = random.Random(derived_seed(0, "candidates"))
            chosen = sorted(chance.sample(chosen, most))  # type: ignore[assignment]
        own = flat_values(base)
        found: dict[str, Candidate] = {}
        for number in chosen:
            places = self._places(number)
            taken = zip(self.axes.values(), places, strict=True)
            fields = {name: value for axis, n in taken for name, value in axis[n].items()}
            values = flat_values(base.override(fields))
            differ = {name for name in values if values[name] != own[name]}
            # One that takes the place of another field, as warmup of warmup_steps, is a change
            # even where its own value stays.
            taking = fields if differ - fields.keys() else fields.keys() & differ
            changed = {name: values[name] for name in fields if name in taking}
            one = Candidate(changed, places)
            found.setdefault(one.name, one)
        as_it_is = found.pop(AS_IT_IS, Candidate({}, None))
        return (as_it_is, *found.values())

    def _places(self, number: int) -> tuple[int, ...]:
        """Return which choice of each axis a combination takes; the last axis runs fastest."""
        places = []
        for choices in reversed(list(self.axes.values())):
            number, place = divmod(number, len(choices))
            places.append(place)
        return tuple(reversed(places))


def find_grid(name: str) -> OptionGrid:
    """Return the included grid of that name, or the one in that TOML file.

    Raises:
        UsageError: neither is there, or the file cannot be read, has a key or a field that is
            unknown, or a value of the wrong type or out of its range.
    """
    return read_grid(find_toml(name, "grid", INCLUDED))


def read_grid(path: Path) -> OptionGrid:
    """Read a grid from a TOML file; see `find_grid` for the errors."""
    content = read_toml(path, "grid")
    try:
        return _grid(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def in_words(value: Any) -> str:
    """Return a value of a field in words: "0.1", "0.35 to 1.0", "true"."""
    if isinstance(value, tuple | list):
        return "-".join(map(in_words, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _grid(content: Mapping[str, Any]) -> OptionGrid:
    for key in content:
        if key != "grid":
            raise unknown_name("key", key, ("grid",))
    rows = content.get("grid")
    if not isinstance(rows, dict) or not rows:
        raise UsageError('there is nothing to vary: write "[grid]" and below it lists of values.')
    axes = {key.replace("-", "_"): _choices(key, values) for key, values in rows.items()}
    owners: dict[str, str] = {}
    for key, choices in axes.items():
        for name in {name for fields in choices for name in fields}:
            if owners.setdefault(name, key) != key:
                raise UsageError(f"{name} is varied by {owners[name]} and by {key}: by one alone.")
    return OptionGrid(axes)


def _choices(key: str, values: Any) -> tuple[Fields, ...]:
    if not isinstance(values, list) or not values:
        raise UsageError(f"{key} needs a list of values to try, not {values!r}.")
    if all(isinstance(value, dict) for value in values):
        return tuple(_checked(fields) for fields in values)
    return tuple(_checked({key: value}) for value in values)


def _checked(fields: Mapping[str, Any]) -> Fields:
    known = flat_fields()
    checked = {}
    for key, value in fields.items():
        name = key.replace("-", "_")
        if name in _CHOSEN_ELSEWHERE:
            raise UsageError(
                f"{name} is the same for all candidates: choose it on the command line, or in the "
                "recipe file that --recipe names."
            )
        if name not in known:
            raise unknown_name("recipe field", key, known, "`mixer train --help` lists all.")
        checked[name] = checked_value(name, value, known[name][1])
    return checked
