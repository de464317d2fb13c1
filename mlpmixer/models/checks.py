"""Numbers of a model that do not fit, and what to say about them; shared by all families."""

from collections.abc import Collection, Sequence
from math import isfinite

from mlpmixer.errors import UsageError


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return the height and width that are meant by one side, or by a sequence of one or two."""
    sides = (image_size,) if isinstance(image_size, int) else image_size
    return sides[0], sides[-1]


def check_minimum(least: int, **numbers: int) -> None:
    """Raise UsageError where one of the named numbers is below `least`."""
    for name, number in numbers.items():
        if number < least:
            raise UsageError(f"{name} {number} must be at least {least}.")


def check_probability(**numbers: float) -> None:
    """Raise UsageError where one of the named numbers is outside [0, 1)."""
    for name, number in numbers.items():
        if not 0 <= number < 1:
            raise UsageError(f"{name} {number} is outside [0, 1).")


def check_channels(channels: int, **values: Sequence[float]) -> None:
    """Raise UsageError where values are not one finite number, or one for each of the channels."""
    for name, numbers in values.items():
        if len(numbers) not in (1, channels) or not all(map(isfinite, numbers)):
            raise UsageError(
                f"{name} {numbers} must be one finite number, or {channels}: one a channel."
            )


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise UsageError where `value` is none of the `known` ones."""
    if value not in known:
        raise UsageError(f"{name} {value!r} is unknown: use {' or '.join(map(repr, known))}.")


def check_patches(image_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Raise UsageError where patches do not tile the image; sizes are (height, width) in pixels."""
    (height, width), (rows, columns) = image_size, patch_size
    if min(height, width) >= 1 and height % rows == 0 and width % columns == 0:
        return
    raise UsageError(
        f"image size {height}x{width} cannot be cut into patches of {rows}x{columns} pixels. "
        f"Use {fitting_size(image_size, patch_size)}, or a --patch-size that divides it."
    )


def fitting_size(image_size: tuple[int, int], step: tuple[int, int]) -> str:
    """Return the option for the image size next to `image_size` of which `step` divides both."""
    near = [
        max(part, round(length / part) * part)
        for length, part in zip(image_size, step, strict=True)
    ]
    square = image_size[0] == image_size[1] and near[0] == near[1]
    return f"--image-size {near[0]}" if square else f"--image-size {near[0]} {near[1]}"
