"""A foreign layout of a Mixer's weights: what its tensors are called, and how they lie."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer, MixerConfig
from mlpmixer.models.preprocessing import Preprocessing
from mlpmixer.models.presets import preset_of
from mlpmixer.weights.tensor_table import TensorTable, check_finite

Shapes = Mapping[str, tuple[int, ...]]
Change = Callable[[Tensor], Tensor]


def unchanged(tensor: Tensor) -> Tensor:
    """Return the tensor as it is."""
    return tensor


def transposed(tensor: Tensor) -> Tensor:
    """Return a view of a matrix with its axes exchanged."""
    return tensor.mT


@dataclass(frozen=True)
class Entry:
    """One tensor, here and there."""

    ours: str
    theirs: str
    read: Change = unchanged
    """From their form to ours; a view where that can be."""
    write: Change = unchanged
    """From our form to theirs."""


@dataclass(frozen=True)
class Layout:
    """How a foreign code stores a Mixer."""

    name: str
    matches: Callable[[Collection[str]], bool]
    """Tells from the tensors' names whether a file is of this layout."""
    infer: Callable[[Shapes], MixerConfig]
    """Returns the configuration that the tensors' shapes speak of."""
    entries: Callable[[MixerConfig], Iterator[Entry]]
    """Yields all tensors of a model."""
    gelu: Literal["tanh", "erf"]
    """The form that the foreign code computes."""
    layer_norm_epsilon: float = 1e-6
    """The epsilon that it uses."""

    channels: int | None = None
    """The colour channels that it takes for granted; None where the file tells them."""

    def differences(self, model: ImageModel, config: MixerConfig) -> str:
        """Say what of a Mixer this layout cannot carry; "" if nothing.

        The foreign code would compute otherwise, or whoever reads the file not know.
        """
        there = {
            "gelu": self.gelu,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "input_mean": (0.5,),
            "input_std": (0.5,),
            "in_channels": self.channels or config.in_channels,
        }
        found = [
            f"{name} {getattr(config, name)} (there {usual})"
            for name, usual in there.items()
            if getattr(config, name) != usual
        ]
        if config.image_size[0] != config.image_size[1]:
            found.append("an image {}x{} (there a square)".format(*config.image_size))
        if model.loss != "softmax":
            found.append(f"loss {model.loss}")
        if model.class_names is not None:
            found.append("class names")
        if model.preprocessing != Preprocessing(image_size=model.image_size):
            found.append("how pictures are cropped and resized")
        return ", ".join(found)

    def read(self, table: TensorTable) -> Mixer:
        """Build the Mixer that a file of this layout holds, in evaluation mode.

        All names and shapes are checked before the first number is read.

        Raises:
            MixerError: a tensor is missing, too many, of the wrong shape, or not finite.
        """
        shapes, source = table.shapes, str(table.path)
        try:
            config = self.infer(shapes)
        except KeyError as error:
            raise MixerError(f"{source} lacks the tensor {error} of {self.name}.") from None
        except ValueError as error:  # a shape of another rank, or numbers that do not fit
            raise MixerError(f"{source} fits no Mixer: {error}") from None
        with torch.device("meta"):
            model = Mixer(config, preset_of(config))
        expected = model.state_dict()
        entries = list(self.entries(config))
        foreign = set(shapes) - {entry.theirs for entry in entries}
        for entry in entries:
            if entry.theirs not in shapes:
                raise MixerError(f"{source} lacks the tensor {entry.theirs!r} of {self.name}.")
            _check_shape(entry, shapes[entry.theirs], expected[entry.ours], source)
        if foreign:
            raise MixerError(
                f"{source} has a tensor {min(foreign)!r} that is not part of {self.name}."
            )
        state = {entry.ours: entry.read(table.real_numbers(entry.theirs)) for entry in entries}
        check_finite({entry.theirs: state[entry.ours] for entry in entries}, source)
        model.load_state_dict(state, assign=True)
        return model.eval()

    def write(self, state: Mapping[str, Tensor], config: MixerConfig) -> dict[str, Tensor]:
        """Return a Mixer's tensors, ours by name, as this layout has them."""
        entries = self.entries(config)
        return {entry.theirs: entry.write(state[entry.ours]).contiguous() for entry in entries}


def square_grid(tokens: int) -> int:
    """Return the patches a side of a square image; UsageError where there is no such square."""
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise UsageError(f"its {tokens} tokens are not those of a square image.")
    return side


def _check_shape(entry: Entry, found: tuple[int, ...], expected: Tensor, source: str) -> None:
    try:
        read = entry.read(torch.empty(found, device="meta"))
    except (RuntimeError, IndexError):
        read = None  # not even of the rank that the layout has
    if read is None or read.shape != expected.shape:
        wanted = tuple(entry.write(expected).shape)
        raise MixerError(
            f"{source}: the tensor {entry.theirs!r} has the shape {found}, expected {wanted}."
        )
