"""A training step on several processes: each passes its share of the batch, gradients are averaged.

Every process holds the model, the optimizers and the averaged weights, and moves them alike, unless
the model is sharded: then it holds a share of each tensor. The model knows nothing of it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from mlpmixer.data.mixing import mixing_groups
from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks, ended_elsewhere
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe


def check_batch(recipe: Recipe, ranks: Ranks) -> None:
    """Raise UsageError where the ranks cannot share the recipe's batches, with those that can."""
    batch, parts = recipe.optimizer.images_a_step, recipe.optimizer.accumulate
    augment, world = recipe.augment, ranks.world
    mixes = bool(augment.mixup_share or augment.cutmix_share)
    whole = mixing_groups(batch) if mixes else batch
    if batch % parts:
        return  # no matter of ranks
    if whole % world == 0 and batch % (world * parts) == 0:
        return
    fitting = [n for n in range(1, world) if whole % n == 0 and batch % (n * parts) == 0]
    each = f" in {parts} parts each" if parts > 1 else ""
    why = " whose images are mixed" if mixes else ""
    unit = world * parts
    instead = _fitting_batch(batch, unit, world) if mixes else f"--batch-size {_next(batch, unit)}"
    raise UsageError(
        f"{world} ranks cannot share batches of {batch}{each}{why}: use {fitting[-1]} ranks, or "
        f"{instead}."
    )


def _fitting_batch(batch: int, unit: int, world: int) -> str:
    """Return the options of the next batch that the ranks can share mixed, unmixed where none."""
    first = _next(batch, unit)
    for size in range(first, first + 1000 * unit, unit):
        if mixing_groups(size) % world == 0:
            return f"--batch-size {size}"
    return f"--mixup-alpha 0 --cutmix-alpha 0 --batch-size {first}"


def _next(batch: int, unit: int) -> int:
    return -(-batch // unit) * unit


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
    parameters = sum(one.numel() for one in model.parameters())
    memory = torch.cuda.get_device_properties(device).total_memory
    each = BYTES_PER_PARAMETER
    if recipe.optimizer.sam_rho:
        each += SHARPNESS_BYTES_PER_PARAMETER
    return parameters * each > MOST_OF_A_GPU * memory


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


def share_batch_norms(model: nn.Module, runtime: Runtime) -> None:
    """Let batch norms in training use the statistics of the whole batch, not of a share."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, _shared_norm(child, runtime))


def _shared_norm(norm: nn.modules.batchnorm._BatchNorm, runtime: Runtime) -> nn.Module:
    plain = type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if runtime.device.type == "cuda" and plain:
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(norm))
    kind = type(norm)
    norm.__class__ = type(kind.__name__, (_SharedBatchNorm, kind), {})
    return norm


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm of any kind; what its kind does after the norm (timm's activation) is kept."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        shape = [1, -1] + [1] * (values.ndim - 2)
        dims = [0, *range(2, values.ndim)]
        wide = values.float()
        count = values.numel() // values.shape[1] * dist.get_world_size()
        mean = all_reduce(wide.sum(dims)) / count
        offset = wide - mean.view(shape)
        variance = all_reduce((offset * offset).sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * (count / max(1, count - 1)))
        scaled = offset * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        scaled = scaled.to(values.dtype)
        for name in ("drop", "act"):  # of timm's norms with an activation
            then = getattr(self, name, None)
            scaled = scaled if then is None else then(scaled)
        return scaled

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)
