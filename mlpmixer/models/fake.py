"""Models without numbers: every shape and operation, no memory.

PyTorch's fake tensors go through the same operators as real ones and know shape, type and
device, but hold no values: a model of gigabytes is traced in a second on a laptop.
"""

import copy

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


def fake_copy(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Return a copy of `model` whose parameters and buffers are fake CPU tensors of `mode`.

    The model itself may be on any device, "meta" included; it is left as it is.
    """

    def empty(tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")

    with mode:
        # What stands in deepcopy's memo counts as copied already.
        replaced: dict[int, object] = {
            id(parameter): nn.Parameter(empty(parameter), parameter.requires_grad)
            for parameter in model.parameters()
        }
        replaced |= {id(buffer): empty(buffer) for buffer in model.buffers()}
        return copy.deepcopy(model, replaced)
