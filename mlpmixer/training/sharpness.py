"""Sharpness-aware minimisation: step by the gradient from where the loss nearby is largest.

SAM (https://arxiv.org/abs/2010.01412) climbs `rho` along the gradient and takes the gradient there,
two passes a step. LookSAM (https://arxiv.org/abs/2203.02714) does so every k-th step alone; the
part of that gradient which the usual one lacks changes slowly, and is added in between.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from mlpmixer.training.sharded_tensors import full_tensor, local_tensors, shard_like

Result = TypeVar("Result")
SHARE = 0.7
"""Length of what LookSAM adds, as a share of the gradient's; α of its paper."""
_SMALLEST = 1e-12  # where all gradients are 0 there is no direction


class SharpnessAware:
    """Replaces the gradients of a step by sharpness-aware ones.

    Args:
        model: what is trained.
        rho: length of the climb over all parameters together, above 0.
        every: look every so many steps; 1 is SAM.
    """

    def __init__(self, model: nn.Module, rho: float, every: int) -> None:
        self.model = model
        self.rho = rho
        self.every = every
        self.parameters: list[Tensor] = [one for one in model.parameters() if one.requires_grad]
        self.sideways: list[Tensor] = []
        """The part of the last gradient from above that is orthogonal to the usual one, of length
        1 over all parameters; empty before the first look, and where every step looks."""

    def __call__(self, number: int, backward: Callable[[], Result]) -> Result:
        """Leave the gradients to step by, and return what the pass at the weights returns.

        Args:
            number: of the step.
            backward: adds the gradients of the batch to those that are there. It is called at the
                weights and, in a step that looks, above them, and must draw the same both times.
        """
        result = backward()
        if number % self.every == 0:
            self._look(backward)
        elif self.sideways:
            length = SHARE * _length(self._gradients())
            torch._foreach_add_(self._gradients(), torch._foreach_mul(self.sideways, length))
        return result

    def _look(self, backward: Callable[[], object]) -> None:
        usual = [gradient.clone() for gradient in self._gradients()]
        usual_length = _length(usual) + _SMALLEST
        weights = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            torch._foreach_add_(self.parameters, torch._foreach_mul(usual, self.rho / usual_length))
        torch._foreach_zero_(self._gradients())
        with _statistics_kept(self.model):
            backward()
        with torch.no_grad():
            # To the bit, unlike climbing down.
            torch._foreach_copy_(local_tensors(self.parameters), local_tensors(weights))
        if self.every > 1:
            above = self._gradients()
            products = [(a * u).sum() for a, u in zip(above, usual, strict=True)]
            along = full_tensor(sum(products[1:], start=products[0])) / usual_length**2
            sideways = [a - along * u for a, u in zip(above, usual, strict=True)]
            length = _length(sideways) + _SMALLEST
            self.sideways = [one / length for one in sideways]

    def _gradients(self) -> list[Tensor]:
        for parameter in self.parameters:
            if parameter.grad is None:  # it had no part in the loss
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def state_dict(self) -> list[Tensor]:
        """Return what a resumed training needs."""
        return self.sideways

    def load_state_dict(self, state: list[Tensor]) -> None:
        """Take up the state of an interrupted training."""
        pairs = zip(state, self.parameters, strict=False)
        self.sideways = [shard_like(one.to(other.device), other) for one, other in pairs]


def _length(tensors: list[Tensor]) -> Tensor:
    return full_tensor(torch.stack(torch._foreach_norm(tensors)).norm())


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let batch norms use a batch's statistics without counting it a second time."""
    norms = [one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.momentum = 0.0
    try:
        yield
    finally:
        for one, momentum in zip(norms, momenta, strict=True):
            one.momentum = momentum
