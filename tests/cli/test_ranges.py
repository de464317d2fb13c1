"""Every number that a user can give has a range, and one outside it is refused before any work."""

import importlib
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import pytest
from tyro.conf import Positional

from mlpmixer.cli.main import main
from mlpmixer.cli.verbs import find_verbs
from mlpmixer.errors import UsageError
from mlpmixer.suites.definition import FewShot, find_suite
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.values import Range, range_of, type_hints

POSITIONAL = get_args(Positional[str])[1]


class Field(NamedTuple):
    """A field of numbers, and what it takes to reach it."""

    where: tuple[str, ...]
    """The verb with what it needs besides."""
    name: str
    annotation: Any


def parts(annotation: Any) -> list[Any]:
    inner = [one for argument in get_args(annotation) for one in parts(argument)]
    return [annotation, *inner]


def of_numbers(annotation: Any) -> bool:
    return any(part in (int, float) for part in parts(annotation))


def numeric_fields(kind: type[Any], where: tuple[str, ...] = ()) -> Iterator[Field]:
    for name, annotation in type_hints(kind).items():
        if is_dataclass(annotation) and isinstance(annotation, type):
            yield from numeric_fields(annotation, where)
        elif of_numbers(annotation):
            yield Field(where, name, annotation)


def needed(kind: type[Any]) -> list[str]:
    """Return some value for each option that a command cannot do without."""
    found = []
    for one in fields(kind):
        if one.default is MISSING and one.default_factory is MISSING:
            marks = getattr(type_hints(kind)[one.name], "__metadata__", ())
            names = [mark.name for mark in marks if getattr(mark, "name", None)]
            found += ["x"] if POSITIONAL in marks else [f"--{(names or [one.name])[0]}", "x"]
    return found


def commands() -> dict[tuple[str, ...], type[Any]]:
    found = {}
    for within in ("", "study"):
        for name, verb in find_verbs(within).items():
            module = importlib.import_module(verb.module)
            for kind in vars(module).values():
                if getattr(kind, "__module__", "") == verb.module and is_dataclass(kind):
                    found[(*within.split(), name)] = kind
    return found


COMMANDS = commands()
ON_THE_COMMAND_LINE = [
    one for verb, kind in COMMANDS.items() for one in numeric_fields(kind, (*verb, *needed(kind)))
]
IN_RECIPES = list(numeric_fields(Recipe))
IN_SUITES = list(numeric_fields(FewShot))


def outside(limits: Range, whole: bool) -> list[float]:
    """Return values just outside a range."""
    step = 1 if whole else 0.25
    found = [] if whole else [math.nan, math.inf, -math.inf]
    found += [limits.ge - step] if limits.ge is not None else []
    if limits.le is not None:
        found += [limits.le + step]
        if found[-1] == limits.le:  # a large float swallows a quarter
            found[-1] = math.nextafter(limits.le, math.inf)
    return found + [limit for limit in (limits.gt, limits.lt) if limit is not None]


def wrong_values(one: Field) -> Iterator[list[float]]:
    """Yield values outside a field's range, as many at a time as it takes."""
    limits, kinds = range_of(one.annotation), parts(one.annotation)
    assert limits is not None
    tuples = [get_args(kind) for kind in kinds if get_origin(kind) is tuple]
    length = next((len(kinds) for kinds in tuples if Ellipsis not in kinds), 1)
    for value in outside(limits, int in kinds):
        yield [value] * length


def refusal(one: Field, value: float) -> str:
    """Return a pattern of the words with which a value of a field is refused."""
    limits = re.escape(f"is out of range: give {range_of(one.annotation)}.")
    return rf"\b{one.name.replace('_', '[-_]')}(=| = | ){re.escape(str(value))}(\.0)? {limits}$"


@pytest.mark.parametrize("verb", COMMANDS, ids=" ".join)
def test_every_number_has_a_range_that_the_help_shows(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [one for one in ON_THE_COMMAND_LINE if one.where[: len(verb)] == verb]
    assert main([*verb, "--help"]) == 0
    options = capsys.readouterr().out.partition("show this help")[2]  # behind the examples
    told = re.sub(r"[\s│|]+", " ", options)
    for one in own:
        limits = range_of(one.annotation)
        assert limits is not None, one
        flag = rf"--{one.name.replace('_', '-')} \W*(?:None\W+)?(?:INT|FLOAT)"
        after = re.split(flag, told, maxsplit=1)[1]
        assert f"({limits}" in after[:300], one


@pytest.mark.parametrize(
    ("number", "one"),
    list(enumerate(ON_THE_COMMAND_LINE)),
    ids=[f"{' '.join(one.where)} {one.name}" for one in ON_THE_COMMAND_LINE],
)
def test_a_number_out_of_range_is_refused_on_the_command_line(
    number: int, one: Field, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = list(wrong_values(one))
    values = choices[number % len(choices)]  # of all fields together every kind is tried
    given = [f"--{one.name.replace('_', '-')}", *map(str, values)]
    assert main([*one.where, *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(refusal(one, values[0]), line), line


@pytest.mark.parametrize("one", IN_RECIPES, ids=lambda one: one.name)
def test_a_number_out_of_range_is_refused_in_a_recipe(one: Field, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for values in wrong_values(one):
        file.write_text(f"{one.name} = {values if len(values) > 1 else values[0]}\n")
        with pytest.raises(UsageError, match=refusal(one, values[0])) as error:
            find_recipe(str(file))
        assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("one", IN_SUITES, ids=lambda one: one.name)
def test_a_number_out_of_range_is_refused_in_a_suite(one: Field, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    task = '[[task]]\ndata = "digits"\nprotocol = "fewshot"\n'
    for values in wrong_values(one):
        file.write_text(f"{task}{one.name} = {values[0]}\n")
        with pytest.raises(UsageError, match=refusal(one, values[0])) as error:
            find_suite(str(file))
        assert str(file) in str(error.value)


def test_numbers_are_found_everywhere() -> None:
    found = {one.where[: 2 if one.where[0] == "study" else 1] for one in ON_THE_COMMAND_LINE}
    assert {("train",), ("finetune",), ("fewshot",), ("eval",), ("inspect",)} <= found
    assert {("info",), ("data",), ("study", "scale"), ("study", "compare")} <= found
    assert {"batch_size", "seed", "betas", "dropout", "workers"} <= {one.name for one in IN_RECIPES}
