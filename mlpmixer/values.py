"""The values of options: their types, the ranges of numbers, and the one check of both.

A range is part of a number's type, as in `batch_size: Count`. It is checked wherever a value
enters, from the command line, from TOML and from Python, and `--help` shows it. Every range of an
option but the seed has two ends: what lies between them can be computed with.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mlpmixer.errors import UsageError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that a number may take; infinity and "not a number" are in no range."""

    ge: float | None = None
    """Greater than or equal to this."""
    gt: float | None = None
    """Greater than this."""
    le: float | None = None
    """Less than or equal to this."""
    lt: float | None = None
    """Less than this."""

    def __contains__(self, value: float) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        if self.ge is not None and self.le is not None:
            return f"{_shown(self.ge)} to {_shown(self.le)}"
        parts = []
        if self.ge is not None:
            parts.append(f"{_shown(self.ge)} or more")
        if self.gt is not None:
            parts.append(f"more than {_shown(self.gt)}")
        if self.le is not None:
            parts.append(f"up to {_shown(self.le)}")
        if self.lt is not None:
            parts.append(f"less than {_shown(self.lt)}")
        return ", ".join(parts) or "any finite number"


def _shown(limit: float) -> str:
    """Return a limit with large round numbers in words: "1 billion"."""
    for word, size in (("billion", 10**9), ("million", 10**6)):
        if size <= limit < 1000 * size and limit % size == 0:
            return f"{limit // size} {word}"
    return str(limit)


Count = Annotated[int, Range(ge=1, le=1_000_000_000)]
CountOrZero = Annotated[int, Range(ge=0, le=1_000_000_000)]
"""A count that may be 0, which turns something off."""
Classes = Annotated[int, Range(ge=0, le=10_000_000)]
"""Number of logits; 0 has no head."""
Operations = Annotated[int, Range(ge=0, le=100)]
"""How many changes are applied to each image."""
Pixels = Annotated[int, Range(ge=1, le=65_536)]
"""A side of an image or a patch."""
Units = Annotated[int, Range(ge=1, le=1_000_000)]
"""Width of a layer."""
Layers = Annotated[int, Range(ge=1, le=10_000)]
Repetitions = Annotated[int, Range(ge=1, le=10_000)]
Copies = Annotated[int, Range(ge=1, le=64)]
"""How often an image is in a batch."""
Factor = Annotated[int, Range(ge=2, le=100)]
"""How many times fewer, or more."""
Workers = Annotated[int, Range(ge=0, le=1024)]
Jobs = Annotated[int, Range(ge=1, le=1024)]
Port = Annotated[int, Range(ge=0, le=65_535)]
Seed = Annotated[int, Range(ge=0)]
Bias = Annotated[float, Range(ge=-1000, le=1000)]
Megapixels = Annotated[float, Range(gt=0, le=178)]
"""Size of a picture; Pillow refuses more than 179 by itself, in the whole process."""
Positive = Annotated[float, Range(gt=0, le=1_000_000_000)]
FloatingPointOperations = Annotated[float, Range(gt=0, le=1e30)]
Strength = Annotated[float, Range(ge=0, le=1000)]
"""A rate, a radius, a norm or the parameter of a distribution; 0 turns it off."""
Temperature = Annotated[float, Range(ge=0.001, le=1000)]
Milliseconds = Annotated[float, Range(ge=0, le=60_000)]
Share = Annotated[float, Range(ge=0, le=1)]
"""Also a probability."""
ShareNotZero = Annotated[float, Range(gt=0, le=1)]
ShareNotOne = Annotated[float, Range(ge=0, lt=1)]


def range_of(annotation: Any) -> Range | None:
    """Return the range of the numbers in a type; None where it has none."""
    if isinstance(annotation, Range):
        return annotation
    marks = getattr(annotation, "__metadata__", ())
    found = (range_of(part) for part in (*marks, *get_args(annotation)))
    return next((limits for limits in found if limits is not None), None)


def numbers(value: Any, annotation: Any) -> Iterator[tuple[float, Range]]:
    """Yield each number in a value of an annotated type, with its range."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if value is None:
        return
    if origin is Annotated:
        for mark in arguments[1:]:
            if isinstance(mark, Range) and isinstance(value, int | float):
                yield value, mark
        yield from numbers(value, arguments[0])
    elif origin in (UnionType, Union):
        for choice in arguments:
            yield from numbers(value, choice)
    elif origin is tuple and isinstance(value, tuple):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        for one, kind in zip(value, kinds, strict=False):
            yield from numbers(one, kind)


def flag(name: str) -> str:
    """Return what a field is called on the command line: "--batch-size"."""
    return f"--{name.replace('_', '-')}"


def check_ranges(options: Any) -> None:
    """Check the numbers of a dataclass of options, and of those inside it.

    Raises:
        UsageError: one is out of its range.
    """
    for name, annotation in type_hints(type(options)).items():
        value = getattr(options, name)
        if is_dataclass(value):
            check_ranges(value)
        for number, limits in numbers(value, annotation):
            if number not in limits:
                raise _out_of_range(f"{flag(name)} {number}", limits)


def checked_value(name: str, value: Any, annotation: Any) -> Any:
    """Return a value from TOML or Python as the type that the field has.

    Raises:
        UsageError: it is of another type, none of the choices, or out of its range.
    """
    try:
        fitted = _fitted(value, annotation)
    except TypeError:
        raise _misfit(name, value, annotation) from None
    for number, limits in numbers(fitted, annotation):
        if number not in limits:
            raise _out_of_range(f"{name} = {number}", limits)
    return fitted


def _out_of_range(given: str, limits: Range) -> UsageError:
    return UsageError(f"{given} is out of range: give {limits}.")


def _fitted(value: Any, annotation: Any) -> Any:
    """Return the value as the type says, ranges aside; raises TypeError where it is of another."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _fitted(value, arguments[0])
    if origin in (UnionType, Union):
        for choice in arguments:
            try:
                return _fitted(value, choice)
            except TypeError:
                continue
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        endless = arguments[-1] is Ellipsis
        items = tuple(value) if isinstance(value, list | tuple) else (value,)
        kinds = arguments[:1] * len(items) if endless else arguments
        if len(items) == len(kinds):
            return tuple(_fitted(one, kind) for one, kind in zip(items, kinds, strict=True))
    elif annotation is float and type(value) in (int, float):
        try:
            return float(value)
        except OverflowError:
            return math.inf  # which is in no range
    elif type(value) is annotation:
        return value
    raise TypeError


def _misfit(name: str, value: Any, annotation: Any) -> UsageError:
    kinds = [kind for kind in _kinds(annotation) if kind is not NoneType]
    choices = [one for kind in kinds if get_origin(kind) is Literal for one in get_args(kind)]
    if len(choices) > 1 and isinstance(value, str):
        return unknown_name(name, value, choices)
    wanted = " or ".join(map(_in_words, kinds))
    return UsageError(f"{name} = {value!r} is of the wrong type: give {wanted}.")


def _kinds(annotation: Any) -> list[Any]:
    """Return the types that a value may have, ranges aside."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return [kind for choice in get_args(annotation) for kind in _kinds(choice)]
    return [annotation]


def _in_words(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if get_origin(kind) is Literal:
        several = "one of " if len(get_args(kind)) > 1 else ""
        return f"{several}{', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        count = "" if Ellipsis in others else f"{len(others) + 1} "
        return f"a list of {count}{_in_words(_kinds(first)[0]).removeprefix('a ')}s"
    return words.get(kind, str(kind))


def type_hints(kind: type[Any]) -> dict[str, Any]:
    """Return the types of a dataclass's fields, with the ranges."""
    return get_type_hints(kind, include_extras=True)
