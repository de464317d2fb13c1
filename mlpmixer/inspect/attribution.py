"""Which patches of a picture a prediction rests on, asked in two ways.

Occlusion (https://arxiv.org/abs/1311.2901, section 4.2) paints over one patch after the other and
measures what is lost. The gradient shows in one step what an infinitesimal change would do;
multiplied by the difference between the patch and the paint it estimates the same loss
(https://arxiv.org/abs/1605.01713). Losses are in log-odds of the predicted class: they still change
where the probability is close to 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.evaluation.forward import respond
from mlpmixer.models.interface import ImageModel, Loss
from mlpmixer.runtime import Runtime

_FEWEST_CELLS, _MOST_CELLS = 8, 14
_CELL = 4  # pixels, of small pictures


class AttributionMaps(NamedTuple):
    """A prediction and what it rests on; maps are (h, w) on the CPU."""

    predicted: int
    """Index of the predicted class."""
    probability: float
    """Of that class, in [0, 1]."""
    occlusion: Tensor
    """Log-odds lost by painting the patch over with the picture's mean colour."""
    occluded_probability: Tensor
    """Probability of the predicted class with the patch painted over, in [0, 1]."""
    gradient_input: Tensor
    """The gradient's estimate of `occlusion`."""
    sensitivity: Tensor
    """Norm of the gradient for the patch's pixels."""


def attribute(
    model: ImageModel,
    image: Tensor,
    *,
    runtime: Runtime,
    batch_size: int = 32,
    on_progress: Callable[[float], None] | None = None,
) -> AttributionMaps:
    """Find out which patches the prediction for one picture rests on.

    Args:
        model: any model of `create_model` with at least one logit, in evaluation mode.
        image: (3, H, W) in [-1, 1].
        runtime: where the model is; bfloat16 blurs losses below about 0.1.
        batch_size: occluded pictures a step.
        on_progress: called with the share done, in [0, 1].
    """
    image = runtime.place(image)
    maps = attribute_by_gradient(model, image, runtime=runtime)
    predicted, whole = maps.predicted, image.new_tensor([maps.log_odds])
    grid = model.patch_grid or usual_grid(model.image_size)
    cells = _cells(image, grid)  # (H, W)
    paint = image.mean(dim=(1, 2), keepdim=True)  # (3, 1, 1)
    lost = []
    patches = torch.arange(grid[0] * grid[1], device=image.device)
    for begin in range(0, len(patches), batch_size):
        covered = cells == patches[begin : begin + batch_size, None, None]  # (B, H, W)
        logits = respond(model, torch.where(covered[:, None], paint, image), runtime)
        lost.append(whole - log_odds(logits, predicted, model.loss))
        if on_progress is not None:
            on_progress(min(1.0, (begin + batch_size) / len(patches)))
    occlusion = torch.cat(lost).float().cpu()
    return AttributionMaps(
        predicted,
        float(whole.sigmoid()),
        occlusion.view(grid),
        (whole.cpu() - occlusion).sigmoid().view(grid),
        maps.gradient_input,
        maps.sensitivity,
    )


class GradientMaps(NamedTuple):
    """What the gradient alone tells, in one pass; maps are (h, w) on the CPU."""

    predicted: int
    """Index of the predicted class."""
    log_odds: float
    """Of that class."""
    gradient_input: Tensor
    """The gradient's estimate of the log-odds lost with each patch."""
    sensitivity: Tensor
    """Norm of the gradient for the patch's pixels."""


def attribute_by_gradient(model: ImageModel, image: Tensor, *, runtime: Runtime) -> GradientMaps:
    """Estimate which patches the prediction for one picture rests on; see `attribute`.

    Args:
        model: any model of `create_model` with at least one logit, in evaluation mode.
        image: (3, H, W) in [-1, 1].
        runtime: where the model is.
    """
    image = runtime.place(image)
    grid = model.patch_grid or usual_grid(model.image_size)
    cells = _cells(image, grid)  # (H, W)
    paint = image.mean(dim=(1, 2), keepdim=True)  # (3, 1, 1)
    pixels = image[None].clone().requires_grad_(True)
    with runtime.autocast():
        logits = model(pixels).float()
    predicted = int(logits.argmax())
    whole = log_odds(logits, predicted, model.loss)  # (1,)
    (gradient,) = torch.autograd.grad(whole.sum(), pixels)
    return GradientMaps(
        predicted,
        float(whole.detach()),
        _sum_over_cells(gradient[0] * (image - paint), cells, grid),
        _sum_over_cells(gradient[0].square(), cells, grid).sqrt(),
    )


def log_odds(logits: Tensor, index: int, loss: Loss) -> Tensor:
    """Return ln(p / (1 - p)) of the class `index`, (B,), from logits (B, K); its sigmoid is p.

    Under the sigmoid loss, and where there is one class alone, a logit is the log-odds itself.
    """
    if loss == "sigmoid" or logits.shape[1] == 1:
        return logits[:, index]
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], dim=1)
    return logits[:, index] - others.logsumexp(dim=1)


def usual_grid(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of cells for networks without patches: 8 to 14 on the short side."""
    height, width = image_size
    shorter = min(height, width)
    cells = min(shorter, max(_FEWEST_CELLS, min(_MOST_CELLS, round(shorter / _CELL))))
    return max(1, round(cells * height / shorter)), max(1, round(cells * width / shorter))


def _cells(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the number of the cell, counted row by row, that each pixel lies in, (H, W)."""
    numbers = torch.arange(grid[0] * grid[1], device=image.device, dtype=torch.float32)
    enlarged = F.interpolate(numbers.view(1, 1, *grid), image.shape[1:], mode="nearest")
    return enlarged[0, 0].long()


def _sum_over_cells(values: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the sums of values (3, H, W) over each cell, (h, w)."""
    sums = values.new_zeros(grid[0] * grid[1])
    sums.index_add_(0, cells.flatten(), values.sum(dim=0).flatten())
    return sums.view(grid).float().cpu()
