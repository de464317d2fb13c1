"""Tensors of which each rank may hold a share (`DTensor`), asked without loading what makes them.

A training by one process, or by ranks that each have the whole model, goes through here unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which this rank may hold a share; all ranks ask for it at once."""
    return tensor.full_tensor() if _is_shared(tensor) else tensor


def local_tensors(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return what this rank holds of tensors: all of each, unless the model is sharded."""
    return [one.to_local() if _is_shared(one) else one for one in tensors]


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return this rank's share of a tensor that all ranks have whole, cut as `other` is."""
    if not _is_shared(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Without a source rank, everyone cuts its own out: nothing is sent.
    tensor = tensor.to(other.device)
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


def shards_like(tensors: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rank's shares of named tensors, cut as the `others` of these names are.

    What has no other of its shape, or is no tensor, stays as it is.
    """
    shares = dict(tensors)
    for name, one in tensors.items():
        other = others.get(name)
        if isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape:
            shares[name] = shard_like(one, other)
    return shares


def _is_shared(tensor: Tensor) -> "TypeGuard[DTensor]":
    return hasattr(tensor, "full_tensor")
