"""A training step on several processes: each passes its share of the batch, gradients are averaged.

Every process holds the model, the optimizers and the averaged weights, and moves them alike, unless
the model is sharded: then it holds a share of each tensor. The model knows nothing of it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlpmixer.errors import UsageError
from mlpmixer.models.model_summary import count_parameters
from mlpmixer.ranks import ended_elsewhere
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.synced_batch_norm import share_batch_norms

BYTES_PER_PARAMETER = 20
"""Of a training in float32: a weight, its gradient, two moments, and its average."""
SHARPNESS_BYTES_PER_PARAMETER = 12
"""With --sam-rho: the weight and the gradient before the climb, and the climb."""
MOST_OF_A_GPU = 0.5
"""Share of a GPU's memory that these may take; activations need the rest."""


def shards(model: nn.Module, recipe: Recipe, runtime: Runtime) -> bool:
    """Tell whether a training is to be cut up over its ranks.

    Raises:
        UsageError: it cannot be compiled then.
    """
    wanted = recipe.compute.shard
    if runtime.ranks.world == 1 or wanted == "never":
        return False
    if wanted == "auto" and not _too_large(model, recipe, runtime.device):
        return False
    if recipe.compute.compile:
        raise UsageError("a sharded model is not compiled: leave --compile out, or --shard never.")
    return True


def _too_large(model: nn.Module, recipe: Recipe, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    memory = torch.cuda.get_device_properties(device).total_memory
    each = BYTES_PER_PARAMETER
    if recipe.optimizer.sam_rho:
        each += SHARPNESS_BYTES_PER_PARAMETER
    return count_parameters(model) * each > MOST_OF_A_GPU * memory


class SharedModel:
    """A model whose gradients are averaged over the ranks; alone it is the model itself.

    Args:
        model: on the runtime's device, with equal shape on every rank; its weights become those of
            the leading one.
        runtime: says which rank this is.
        sharded: the model averages its gradients by itself.
    """

    def __init__(self, model: nn.Module, runtime: Runtime, *, sharded: bool = False) -> None:
        self.module: nn.Module = model
        self._together: DistributedDataParallel | None = None
        if runtime.ranks.world > 1:
            share_batch_norms(model, runtime)
        if runtime.ranks.world > 1 and not sharded:
            own = [runtime.device] if runtime.device.type == "cuda" else None
            self._together = DistributedDataParallel(model, device_ids=own)
            self.module = self._together

    @contextmanager
    def passing(self, *, last: bool) -> Iterator[None]:
        """Surround a forward and a backward pass; gradients are exchanged in the last of a step."""
        if self._together is None:
            with ended_elsewhere():
                yield
            return
        waiting: AbstractContextManager[None] = nullcontext() if last else self._together.no_sync()
        with ended_elsewhere(), waiting:
            yield
