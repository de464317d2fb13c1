"""Types and ranges of values: what fits, what does not, and how it is said."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from mlpmixer.errors import UsageError
from mlpmixer.values import Count, Positive, Range, Share, check_ranges, checked_value


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        (Range(ge=1), (1, 10**400), (0, -4), "1 or more"),
        (Range(gt=0), (1e-300, 5), (0, -0.0, -1), "more than 0"),
        (Range(ge=0, le=1), (0, 0.5, 1), (-0.1, 1.1), "0 to 1"),
        (Range(gt=0, le=1), (0.1, 1), (0, 1.1), "more than 0, up to 1"),
        (Range(ge=0, lt=1), (0, 0.9), (-1, 1), "0 or more, less than 1"),
        (Range(ge=0, le=10**9), (0, 10**9), (-1, 10**9 + 1), "0 to 1 billion"),
        (Range(ge=1, le=65_536), (1, 65_536), (0, 65_537), "1 to 65536"),
        (Range(), (-1e308, 0), (), "any finite number"),
    ],
)
def test_a_range_knows_its_values_and_its_words(
    limits: Range, inside: tuple[float, ...], outside: tuple[float, ...], words: str
) -> None:
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in (*outside, math.nan, math.inf, -math.inf))
    assert str(limits) == words


@pytest.mark.parametrize(
    ("value", "annotation", "fitted"),
    [
        (3, Positive, 3.0),
        (None, Count | None, None),
        (7, tuple[Count, ...] | None, (7,)),
        ([1, 2], tuple[Share, Positive], (1.0, 2.0)),
        ("b", Literal["a", "b"] | None, "b"),
        (True, bool, True),
    ],
)
def test_a_value_takes_the_type_of_its_field(value: Any, annotation: Any, fitted: Any) -> None:
    found = checked_value("name", value, annotation)
    assert found == fitted
    assert type(found) is type(fitted)


@pytest.mark.parametrize(
    ("value", "annotation", "words"),
    [
        (2.5, Count, "wrong type: give a whole number"),
        (True, Count, "wrong type: give a whole number"),
        ("3", Positive | None, "wrong type: give a number"),
        ([1, "x"], tuple[Count, ...], "wrong type: give a list of whole numbers"),
        ([0.1], tuple[Share, Share], "wrong type: give a list of 2 numbers"),
        (3, Literal["a", "b"], "wrong type: give one of a, b"),
        ("c", Literal["a", "b"], "unknown name 'c'"),
        (0, Count, "name = 0 is out of range: give 1 to 1 billion"),
        ([2, 0], tuple[Count, ...], "name = 0 is out of range: give 1 to 1 billion"),
        (10**400, Positive, "name = inf is out of range: give more than 0"),
    ],
)
def test_a_value_that_does_not_fit_is_named(value: Any, annotation: Any, words: str) -> None:
    with pytest.raises(UsageError, match="name") as error:
        checked_value("name", value, annotation)
    assert words in str(error.value)


@dataclass(frozen=True)
class Inner:
    share_left: Annotated[float, Range(ge=0, le=1)] = 0.5


@dataclass(frozen=True)
class Outer:
    shots: tuple[Count, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)


def test_options_are_checked_with_those_inside_them() -> None:
    check_ranges(Outer())
    with pytest.raises(UsageError, match="--shots 0 is out of range: give 1 to 1 billion"):
        check_ranges(Outer(shots=(1, 0)))
    with pytest.raises(UsageError, match=r"--share-left nan is out of range: give 0 to 1"):
        check_ranges(Outer(inner=Inner(share_left=math.nan)))
