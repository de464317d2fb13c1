"""Batch norms of a training on several processes: the statistics are those of the whole batch."""

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from mlpmixer.runtime import Runtime


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
