"""Muon: momentum whose update is made orthogonal, for matrices.

K. Jordan et al., https://kellerjordan.github.io/posts/muon/. PyTorch has it for two-dimensional
parameters alone; here convolution kernels (out, in, h, w) are taken as matrices (out, in·h·w), so
that every family of models can be trained with it. With averaged squares it is NorMuon
(https://arxiv.org/abs/2510.05491): an orthogonalised update still moves some output units more than
others, and each is brought to the same length over time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mlpmixer.runtime import multiplies_bfloat16
from mlpmixer.training.sharded_tensors import full_tensor, shard_like

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd quintic that drives all singular values towards 1."""


_SMALLEST = 1e-8
"""Below it a length is taken for it: rows of a gradient may be 0 for long."""
TOGETHER = 2**22
"""Values that are made orthogonal at once, at most. A small model has many small matrices, which
keep the processor busy together; of a large model each one does, and would fill its caches."""


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return about U·Vᵀ of each of the matrices (K, m, n) = U·S·Vᵀ.

    The singular values come out between about 0.7 and 1.2: exactness is not needed, speed is. So it
    is computed, and returned, in bfloat16 where that is faster here, else in float32.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    kind = torch.bfloat16 if multiplies_bfloat16(matrices.device) else torch.float32
    x = (matrices.mT.contiguous() if tall else matrices).to(kind)
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)  # now no singular value is above 1
    for _ in range(steps):
        gram = x @ x.mT  # (K, m, m), of wide matrices
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Args:
        params: parameters of two or more dimensions.
        lr: step size; an update has a spectral norm of about lr · sqrt(max(1, rows/columns)).
        momentum: share of the momentum that is kept each step, in [0, 1).
        weight_decay: decay a step, times the learning rate.
        row_average: NorMuon's β₂, in [0, 1): share that is kept each step of the mean squares of
            the update's rows, by whose roots they are divided; 0 leaves the rows as they are.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        row_average: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "row_average": row_average,
        }
        super().__init__(params, defaults)
        if any(one.ndim < 2 for group in self.param_groups for one in group["params"]):
            raise ValueError("Muon takes parameters of two or more dimensions")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            moved = [one for one in group["params"] if one.grad is not None]
            for alike in _together(moved):
                self._move(alike, group)
        return loss

    def _move(self, parameters: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Move parameters that are matrices of one shape."""
        directions = [self._direction(one, group["momentum"]) for one in parameters]
        updates = orthogonalize(torch.stack(directions))
        if group["row_average"]:
            updates = self._normalized(updates, parameters, group["row_average"])
        rows, columns = updates.shape[1:]
        length = group["lr"] * max(1, rows / columns) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            update = update.reshape(parameter.shape).to(parameter.dtype)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(shard_like(update, parameter), alpha=-length)

    def _normalized(self, updates: Tensor, parameters: Sequence[Tensor], kept: float) -> Tensor:
        """Return the updates (K, m, n) with rows brought to one length, matrices to their own."""
        updates = updates.float()
        now = updates.square().mean(dim=2)  # (K, m)
        squares = torch.stack(
            [
                self.state[one].setdefault("squares", torch.zeros_like(row)).lerp_(row, 1 - kept)
                for one, row in zip(parameters, now, strict=True)
            ]
        )
        # Dividing by what the average has yet to reach would cancel out in the next line.
        rows = updates / squares.sqrt().clamp_min(_SMALLEST).unsqueeze(2)
        lengths = torch.linalg.matrix_norm(rows, keepdim=True).clamp_min(_SMALLEST)
        return rows * (torch.linalg.matrix_norm(updates, keepdim=True) / lengths)

    def _direction(self, parameter: Tensor, kept: float) -> Tensor:
        """Take the gradient into the momentum; return where both point, a matrix."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].lerp_(gradient, 1 - kept)
        return full_tensor(gradient.lerp(momentum, kept)).flatten(1)


def _together(parameters: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Yield the parameters in groups: alike as matrices, and of TOGETHER values at most."""
    alike: dict[tuple[int, int], list[Tensor]] = {}
    for parameter in parameters:
        rows = parameter.shape[0]
        alike.setdefault((rows, parameter.numel() // rows), []).append(parameter)
    for (rows, columns), group in alike.items():
        count = max(1, TOGETHER // (rows * columns))
        for start in range(0, len(group), count):
            yield group[start : start + count]
