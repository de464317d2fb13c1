"""Numbers as people read them."""

import pytest

from mlpmixer.formatting import clock, counted, duration, memory, number, without_secrets


@pytest.mark.parametrize(
    ("count", "nouns", "text"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        (50_000, ("image",), "50,000 images"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, nouns: tuple[str, ...], text: str) -> None:
    assert counted(count, *nouns) == text


@pytest.mark.parametrize(
    ("seconds", "in_words", "as_clock"),
    [(7.23, "7.2 s", "0:07"), (59.96, "1 min 0 s", "1:00"), (3_723, "1 h 2 min", "1:02:03")],
)
def test_a_duration_never_shows_sixty_of_a_unit(
    seconds: float, in_words: str, as_clock: str
) -> None:
    assert duration(seconds) == in_words
    assert clock(seconds) == as_clock


def test_numbers_keep_about_three_digits() -> None:
    numbers = [1_234, 1_234.5, 56.72, 5.678, 0.1234, 0.0003]
    words = ["1,234", "1,234", "56.7", "5.68", "0.123", "3.0e-04"]
    assert [number(one) for one in numbers] == words
    assert [memory(size) for size in (512_000_000, 1_230_000_000)] == ["512 MB", "1.2 GB"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a.tar?key=SECRET", "https://host/a.tar"),
        ("https://me:SECRET@host:80/a/{0..3}.tar#SECRET", "https://host:80/a/{0..3}.tar"),
        ("s3://bucket/a.tar", "s3://bucket/a.tar"),
        ('data = "https://host/a?key=SECRET"\n', 'data = "https://host/a"\n'),
        ("--data 'https://host/a?key=SECRET' --json", "--data 'https://host/a' --json"),
        ("is it me@home? #1", "is it me@home? #1"),
    ],
)
def test_addresses_are_shown_without_their_keys(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
