"""From a recipe to optimizers and averaged weights."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mlpmixer.models.interface import ImageModel
from mlpmixer.training.muon import Muon
from mlpmixer.training.recipe import OptimizerOptions
from mlpmixer.training.sharded_tensors import full_tensor, shards_like
from mlpmixer.training.transfer import blocks_behind

MUON_MOMENTUM = 0.95


class Optimizers:
    """The optimizers of a model, moved together.

    Weight decay acts on matrices and kernels, not on biases, norms and other vectors.

    Args:
        model: the model to be trained; parameters that need no gradient are left out.
        options: which optimizer, with which hyperparameters.
    """

    def __init__(self, model: ImageModel, options: OptimizerOptions) -> None:
        outer = _outer_parameters(model)
        behind = blocks_behind(model) if options.layer_decay != 1 else {}
        usual: dict[tuple[bool, float], list[nn.Parameter]] = {}  # by whether it decays, and share
        orthogonal: dict[float, list[nn.Parameter]] = {}  # by share of the rate
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            share = options.layer_decay ** behind.get(name, 0)
            if options.optimizer == "muon" and parameter.ndim >= 2 and id(parameter) not in outer:
                orthogonal.setdefault(share, []).append(parameter)
            else:
                usual.setdefault((parameter.ndim >= 2, share), []).append(parameter)
        groups = [
            {
                "params": chosen,
                "weight_decay": options.weight_decay if decays else 0.0,
                "lr": options.learning_rate * share,
            }
            for (decays, share), chosen in usual.items()
        ]
        self.all: list[torch.optim.Optimizer] = []
        if options.optimizer == "sgd":
            self.all.append(torch.optim.SGD(groups, momentum=options.momentum))
        else:
            self.all.append(torch.optim.AdamW(groups, betas=options.betas, fused=True))
        if orthogonal:
            matrices = [
                {"params": chosen, "lr": options.matrix_learning_rate * share}
                for share, chosen in orthogonal.items()
            ]
            decay = options.weight_decay
            self.all.append(
                Muon(
                    matrices,
                    momentum=MUON_MOMENTUM,
                    weight_decay=decay,
                    row_average=options.row_average,
                )
            )
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.peaks = [[group["lr"] for group in one.param_groups] for one in self.all]
        self.clip_norm = options.clip_norm

    def step(self, factor: float) -> Tensor:
        """Clip the gradients, move the weights at `factor` times the peak rates, forget gradients.

        Returns:
            The gradient's global norm before clipping, a scalar.
        """
        limit = self.clip_norm or math.inf
        norm = full_tensor(nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True))
        for optimizer, peaks in zip(self.all, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad()
        return norm

    def state_dict(self) -> list[dict[str, object]]:
        """Return everything that a resumed training needs."""
        return [optimizer.state_dict() for optimizer in self.all]

    @contextmanager
    def own_hyperparameters(self) -> Iterator[None]:
        """Keep what the recipe says now over a block that sets those of a saved state."""
        own = [
            {name: value for name, value in group.items() if name != "params"}
            for optimizer in self.all
            for group in optimizer.param_groups
        ]
        yield
        groups = (group for optimizer in self.all for group in optimizer.param_groups)  # made anew
        for group, values in zip(groups, own, strict=True):
            group.update(values)

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take up the state of an interrupted training; of whole tensors a rank takes its share.

        What the recipe says now, as the weight decay, stays as it is.
        """
        for optimizer, state in zip(self.all, states, strict=True):
            moved = [one for group in optimizer.param_groups for one in group["params"]]
            kept = {
                number: shards_like(values, dict.fromkeys(values, moved[number]))
                for number, values in state["state"].items()
            }
            now = optimizer.state_dict()["param_groups"]
            if _members(now) != _members(state["param_groups"]):
                raise ValueError("its optimizer groups the parameters in another way")
            optimizer.load_state_dict({"state": kept, "param_groups": now})


def _members(groups: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    return [list(group["params"]) for group in groups]


def _outer_parameters(model: nn.Module) -> set[int]:
    """Return the ids of the first and the last layer's parameters, which Muon is not made for.

    Both see raw pixels or classes rather than features; their modules are the first and the last
    with a matrix. What is no layer's weight (a position embedding) counts as well.
    """
    weights = [getattr(module, "weight", None) for module in model.modules()]
    matrices = [one for one in weights if isinstance(one, nn.Parameter) and one.ndim >= 2]
    inner = {id(weight) for weight in matrices[1:-1]}
    return {id(p) for p in model.parameters()} - inner


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of the model whose weights follow with an exponential moving average."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)
