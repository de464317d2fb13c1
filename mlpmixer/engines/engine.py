"""Engines: ways to compute a model's outputs, for inference alone."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.kernels.ceilings import arithmetic
from mlpmixer.kernels.native import PRECISIONS, NativeMixer, Precision
from mlpmixer.kernels.self_check import choose_level
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import autocast

EngineName = Literal["native", "openvino", "compiled", "eager"]
ENGINES: tuple[EngineName, ...] = ("native", "openvino", "compiled", "eager")
QUICK: tuple[EngineName, ...] = ("native", "eager")
"""Those that are ready at once, among which `auto` chooses."""


class Engine(Protocol):
    """Computes what a model computes."""

    description: str
    """What computes, for a person to read."""

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to what `forward_features` returns."""

    def logits(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to logits (B, K)."""


class NativeEngine:
    """The package's own kernels for Mixers on CPUs.

    Raises:
        MixerError: the model is no Mixer, lies on a GPU, or the kernels cannot run here.
    """

    def __init__(self, model: ImageModel, precision: Precision) -> None:
        parts = model.for_kernels()
        if parts is None:
            raise MixerError(f"the native kernels compute Mixers alone, not {model.name}.")
        if model.device.type != "cpu":
            raise MixerError(f"the native kernels run on CPUs, the model is on {model.device}.")
        computed = arithmetic(precision)
        level = choose_level(computed)
        self._mixer = NativeMixer(*parts, computed, level)
        self.description = f"native kernels, {computed}, {level}"

    def features(self, images: Tensor) -> Tensor:
        return self._mixer.tokens(images)

    def logits(self, images: Tensor) -> Tensor:
        return self._mixer.logits(images)


class EagerEngine:
    """PyTorch, operation by operation, in evaluation mode.

    Raises:
        MixerError: PyTorch has no int8 for these models.
    """

    def __init__(self, model: ImageModel, precision: Precision) -> None:
        if precision == "int8":
            raise MixerError("int8 is computed by the native kernels alone.")
        self._model = model
        self._type = getattr(torch, precision)
        self.description = f"PyTorch, {precision}"

    def features(self, images: Tensor) -> Tensor:
        return self._run(self._model.forward_features, images)

    def logits(self, images: Tensor) -> Tensor:
        return self._run(self._model, images)

    def _run(self, function: Any, images: Tensor) -> Tensor:
        with _evaluating(self._model), autocast(self._model.device, self._type):
            return function(images).float()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model that trains on into evaluation mode for a while."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class CompiledEngine:
    """`torch.compile` with the weights as constants; each new batch size is compiled anew.

    Raises:
        MixerError: PyTorch has no int8 for these models.
    """

    def __init__(self, model: ImageModel, precision: Precision) -> None:
        if precision == "int8":
            raise MixerError("int8 is computed by the native kernels alone.")
        self._type = getattr(torch, precision)
        self._model = copy.deepcopy(model).eval().to(self._type)
        self._features = torch.compile(self._model.forward_features, options={"freezing": True})
        self._logits = torch.compile(self._model.forward, options={"freezing": True})
        self.description = f"torch.compile, {precision}"

    def features(self, images: Tensor) -> Tensor:
        return self._features(images.to(self._type)).float()

    def logits(self, images: Tensor) -> Tensor:
        return self._logits(images.to(self._type)).float()


class OwnRuntime:
    """What a model is computed by that lies in a file for a runtime of its own.

    Raises:
        UsageError: another engine or precision is asked for.
    """

    def __init__(self, model: ImageModel, precision: Precision, engine: str) -> None:
        if engine != "auto" or precision != "float32":  # the default stands for "as it is"
            asked = f"engine {engine!r}" if engine != "auto" else f"precision {precision!r}"
            raise UsageError(
                f"{asked} does not go with an exported file, which is computed by "
                f"{model.own_runtime}: leave it out, or use the model that it was made from."
            )
        self._model = model
        self.description = str(model.own_runtime)

    def features(self, images: Tensor) -> Tensor:
        return self._model.forward_features(images)

    def logits(self, images: Tensor) -> Tensor:
        return self._model(images)


def check_names(engine: str, precision: str) -> None:
    """Raise UsageError where there is no such engine or precision."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown: use one of {', '.join(PRECISIONS)}.")
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"engine {engine!r} is unknown: use auto or one of {', '.join(ENGINES)}.")


def make_engine(name: EngineName, model: ImageModel, precision: Precision) -> Engine:
    """Return an engine for a model.

    Raises:
        MixerError: the engine cannot compute this model here, and why.
    """
    if name == "native":
        return NativeEngine(model, precision)
    if name == "openvino":
        from mlpmixer.engines.openvino import OpenVinoEngine  # tracing is imported where it is used

        return OpenVinoEngine(model, precision)
    if name == "compiled":
        return CompiledEngine(model, precision)
    return EagerEngine(model, precision)
