"""Copies of models without numbers: every shape and operation, no memory.

On PyTorch's "meta" device, or with its fake tensors, a model of gigabytes is traced in a second.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def hollow_copy(model: M, device: str) -> M:
    """Return a copy of `model` whose parameters and buffers are empty tensors on `device`.

    Args:
        model: left as it is; it may itself be on the meta device.
        device: "meta", or, inside a `FakeTensorMode`, the device to pretend.
    """

    def empty(tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    # What stands in deepcopy's memo counts as copied already.
    replaced: dict[int, object] = {
        id(parameter): nn.Parameter(empty(parameter), parameter.requires_grad)
        for parameter in model.parameters()
    }
    replaced |= {id(buffer): empty(buffer) for buffer in model.buffers()}
    return copy.deepcopy(model, replaced)
