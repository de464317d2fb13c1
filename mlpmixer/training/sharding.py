"""Models too large for one device: weights, gradients and moments cut up over the ranks (FSDP2).

Each rank keeps a share of every parameter. Before a block computes, its weights are brought
together, and let go behind it, so that no device ever holds the whole of a training. Optimizers see
the shares as `DTensor`s and need not know.
"""

from copy import deepcopy

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime
from mlpmixer.training.sharded_tensors import full_tensor


def mesh_of(runtime: Runtime) -> DeviceMesh:
    """Return all ranks in one row, each with a device of the runtime's kind."""
    return init_device_mesh(runtime.device.type, (runtime.ranks.world,))


def shard(model: ImageModel, mesh: DeviceMesh) -> None:
    """Cut the model's parameters up over the ranks of a mesh, in place.

    They are brought together block by block; what belongs to no block, with the first of them.
    Afterwards the model runs on all ranks at once or on none.
    """
    for name in model.block_names:
        fully_shard(model.get_submodule(name), mesh=mesh)
    fully_shard(model, mesh=mesh)


class Assembly:
    """Puts a sharded model together again as a plain one, to be evaluated or saved.

    Args:
        model: not sharded yet; a copy of it waits in the machine's memory.
    """

    def __init__(self, model: ImageModel) -> None:
        self._plain = deepcopy(model).cpu()

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, model: nn.Module, device: torch.device) -> ImageModel:
        """Return the plain model on the device, with the sharded one's weights.

        All ranks ask for it at once. They then go on by themselves: its forward pass waits for
        nobody. It takes the memory of its weights alone, while it is kept.
        """
        sources = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        plain = deepcopy(self._plain).to(device)
        targets = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
        for name, target in targets.items():
            target.copy_(full_tensor(sources[name].detach()))
        return plain
