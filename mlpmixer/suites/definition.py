"""A suite: several data sets, each measured by a protocol, and the mean of the accuracies.

It is written as a TOML file: what it is `about`, a table `defaults` for all tasks, and one [[task]]
each. The two suites of the paper lie in the folder `included` and are known by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from mlpmixer.data.sources import check_name
from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.toml_files import find_toml, read_toml
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.recipes import find_recipe
from mlpmixer.values import Count, Pixels, Repetitions, checked_value, type_hints

INCLUDED = {path.stem: path for path in sorted(Path(__file__).parent.glob("included/*.toml"))}
"""The suites that come with the package, by name."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure the model as it is; its classes are matched by name."""

    split: Literal["train", "validation", "test"] | None = None
    """Which images; by default test, else validation, else all there are."""
    multi_labels: str | None = None
    """A file of label sets for a further column; looked for here, then in the data home."""


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Probe the frozen representation with a few images a class."""

    shots: Count = 5
    """Images a class."""
    seeds: Repetitions = 3
    """Support sets drawn; the accuracy is their mean."""
    image_size: tuple[Pixels, ...] | None = None
    """Input in pixels, one side or height and width; by default the model's own."""


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Train on from the model, and measure on the test images."""

    recipe: Recipe
    multi_labels: str | None = None
    """A file of label sets for a further column; looked for here, then in the data home."""


@dataclass(frozen=True, kw_only=True)
class Vtab1k:
    """Choose hyperparameters on 800 and 200 images, train on these 1000, measure on the test split.

    Source: https://arxiv.org/abs/1910.04867, section 2.
    """

    recipe: Recipe
    candidates: tuple[Mapping[str, Any], ...]
    """What to change in the recipe, each tried; a single one is taken untried."""


Protocol = Evaluate | FewShot | Finetune | Vtab1k


@dataclass(frozen=True)
class Task:
    """One line of a suite."""

    name: str
    data: str
    """A source as for `--data`."""
    kind: str
    """What the protocol is called."""
    protocol: Protocol
    group: str
    """A part of the suite with a mean of its own; "" for none."""
    unavailable: str
    """Why no program can get the data, and what to do; "" where one can."""


@dataclass(frozen=True)
class Suite:
    """A list of tasks."""

    name: str
    about: str
    tasks: tuple[Task, ...]


def find_suite(name: str) -> Suite:
    """Return the included suite of that name, or the one in that TOML file.

    Raises:
        UsageError: neither is there, or the file cannot be read, has a key, protocol, recipe field
            or data name that is unknown, or a value of the wrong type.
    """
    return read_suite(find_toml(name, "suite", INCLUDED))


def read_suite(path: Path) -> Suite:
    """Read a suite from a TOML file; see `find_suite` for the errors."""
    content = read_toml(path, "suite")
    try:
        _check_keys(content, ("name", "about", "defaults", "task"))
        name = _taken(content, "name", str, path.stem)
        about = _taken(content, "about", str, "")
        defaults = _taken(content, "defaults", dict, {})
        given = _taken(content, "task", list, [])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if not given:
        raise UsageError(f"{path} has no task: write one as [[task]].")
    tasks: list[Task] = []
    for number, values in enumerate(given, start=1):
        label = values.get("name", values.get("data")) if isinstance(values, dict) else None
        try:
            task = _task({**defaults, **values})
            if any(task.name == other.name for other in tasks):
                raise UsageError("there is a task of that name already.")
        except (UsageError, TypeError) as error:
            where = f"task {label or number!r}"
            raise UsageError(f"{path}, {where}: {error}") from None
        tasks.append(task)
    return Suite(name, about, tuple(tasks))


def _task(values: dict[str, Any]) -> Task:
    data = _taken(values, "data", str, "")
    kind = _taken(values, "protocol", str, "")
    if not data or not kind:
        raise UsageError(f"the key {'protocol' if data else 'data'!r} is missing.")
    name = _taken(values, "name", str, Path(data).name)
    group = _taken(values, "group", str, "")
    unavailable = _taken(values, "unavailable", str, "")
    if kind not in _PROTOCOLS:
        raise unknown_name("protocol", kind, _PROTOCOLS)
    if not unavailable:
        check_name(data)
    return Task(name, data, kind, _PROTOCOLS[kind](values), group, unavailable)


def _evaluate(values: dict[str, Any]) -> Evaluate:
    return Evaluate(**_options(Evaluate, values))


def _few_shot(values: dict[str, Any]) -> FewShot:
    return FewShot(**_options(FewShot, values))


def _finetune(values: dict[str, Any]) -> Finetune:
    labels = _taken(values, "multi_labels", str, None)
    return Finetune(recipe=_recipe({"splits": "joined", **values}), multi_labels=labels)


def _vtab(values: dict[str, Any]) -> Vtab1k:
    sweep = _taken(values, "sweep", dict, {})
    if "splits" in values or "splits" in sweep:
        raise UsageError("splits belong to the protocol vtab1k: leave the key out.")
    recipe = _recipe(values)
    for name, choices in sweep.items():
        if not isinstance(choices, list) or not choices:
            raise UsageError(f"sweep: {name} needs a list of values to try.")
    candidates = [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]
    for candidate in candidates:
        _recipe(candidate, recipe)
    return Vtab1k(recipe=recipe, candidates=tuple(candidates))


_PROTOCOLS: Mapping[str, Callable[[dict[str, Any]], Protocol]] = {
    "evaluate": _evaluate,
    "fewshot": _few_shot,
    "finetune": _finetune,
    "vtab1k": _vtab,
}
_CHOSEN_ELSEWHERE = ("model", "start_from", "data", "device", "workers", "max_unreadable")


def _recipe(values: dict[str, Any], base: Recipe | None = None) -> Recipe:
    """Return a recipe, named "recipe" or `base`, with the other values in place of its own."""
    values = dict(values)
    if base is None:
        base = find_recipe(_taken(values, "recipe", str, "finetune"))
    for name in _CHOSEN_ELSEWHERE:
        if name in values:
            raise UsageError(f"{name} is chosen on the command line, not in a suite.")
    return base.override(values)


def _options(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    hints = type_hints(kind)
    _check_keys(values, list(hints))
    return {name: checked_value(name, value, hints[name]) for name, value in values.items()}


def _check_keys(values: Mapping[str, Any], known: list[str] | tuple[str, ...]) -> None:
    for key in values:
        if key not in known:
            raise unknown_name("key", key, known)


def _taken(values: dict[str, Any], key: str, kind: type[Any], default: Any) -> Any:
    """Take the value of a key out of `values`, checked to be of that type."""
    return checked_value(key, values.pop(key), kind) if key in values else default
