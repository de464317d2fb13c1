"""How the representation of a picture moves through the layers of a network."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.inspect.structure import Layers, layers_of
from mlpmixer.models.capture import capture
from mlpmixer.models.interface import ImageModel
from mlpmixer.report.inspection_contents import Floats, Representations
from mlpmixer.runtime import Runtime

FEWEST_TO_ALIGN = 16
"""Pictures below which layers are not compared by CKA."""


@torch.inference_mode()
def representations(
    model: ImageModel,
    images: Tensor,
    labels: Sequence[Sequence[int]] | None = None,
    *,
    runtime: Runtime,
    batch_size: int = 16,
    on_progress: Callable[[float], None] | None = None,
) -> Representations | None:
    """Measure how pictures are represented after each layer, and what each block adds.

    Args:
        model: any model of `create_model`, on its device, in evaluation mode.
        images: (N, 3, H, W) in [-1, 1].
        labels: of each image the classes that are right, where they are known.
        runtime: where the model is.
        batch_size: pictures a step; all layers' values of a batch are in memory at once.
        on_progress: called with the share done, in [0, 1].

    Returns:
        The measures; None where the model's structure is unknown.
    """
    network = model.network
    layers = layers_of(network)
    if layers is None:
        return None
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    for begin in range(0, len(images), batch_size):
        batch = model.seen(runtime.place(images[begin : begin + batch_size]))
        with runtime.autocast():
            values = capture(network, batch, layers.names, partial=True)
            measures = _measure(network, layers, values)
        for name, value in measures.items():
            found[name].append(value.float().cpu())
        if on_progress is not None:
            on_progress(min(1.0, (begin + batch_size) / len(images)))
    measured = {name: torch.cat(parts) for name, parts in found.items()}
    titles = [title for title in layers.values if f"tokens {title}" in measured]
    if not titles:
        return None
    pooled = [measured[f"pooled {title}"] for title in titles]
    answers = [measured[f"answer {title}"] for title in titles if f"answer {title}" in measured]
    return Representations(
        layers=tuple(titles),
        unit=layers.unit,
        branches={
            kind: np.stack([measured[f"branch {place.branch}"].numpy() for place in places])
            for kind, places in layers.branches.items()
            if all(f"branch {place.branch}" in measured for place in places)
        },
        token_similarity=np.stack([measured[f"tokens {title}"].numpy() for title in titles]),
        step_similarity=_steps(pooled),
        alignment=linear_cka([one.numpy() for one in pooled])
        if len(images) >= FEWEST_TO_ALIGN
        else None,
        agreement=_shares(answers, measured["answer"].unsqueeze(1).tolist()) if answers else None,
        accuracy=_shares(answers, labels) if answers and labels is not None else None,
    )


def linear_cka(features: Sequence[Floats]) -> NDArray[np.float64]:
    """Return the linear centred kernel alignment of representations with each other, (L, L).

    Similarity of two representations up to rotation and scale: which pictures they hold for alike
    (https://arxiv.org/abs/1905.00414). The estimate is the unbiased one, which is 0 on average for
    unrelated features however many there are (https://arxiv.org/abs/2010.15327, section 2): the
    cosine similarity of U-centred Gram matrices.

    Args:
        features: L arrays (N, D), their widths may differ; N is at least 4.
    """
    flat = []
    for one in features:
        gram = one.astype(np.float64) @ one.T.astype(np.float64)  # (N, N)
        count = len(gram)
        np.fill_diagonal(gram, 0)
        sums = gram.sum(axis=1) / (count - 2)
        gram += sums.sum() / (count - 1) - sums[:, None] - sums[None, :]
        np.fill_diagonal(gram, 0)
        flat.append(gram.ravel() / max(float(np.linalg.norm(gram)), 1e-30))
    stacked = np.stack(flat)
    return stacked @ stacked.T


def token_similarity(tokens: Tensor) -> Tensor:
    """Return the mean cosine similarity of two different tokens (B, S, C) of a picture, (B,)."""
    count = tokens.shape[1]
    if count == 1:
        return tokens.new_ones(len(tokens))
    total = F.normalize(tokens.float(), dim=2).sum(dim=1)  # (B, C)
    return (total.square().sum(dim=1) - count) / (count * (count - 1))


def _measure(network: ImageModel, layers: Layers, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the measures of a batch, each (B,), and the pooled values, (B, C)."""
    found = {"answer": values["logits"].argmax(dim=1)}
    for title, name in layers.values.items():
        value = values.get(name)
        if not isinstance(value, Tensor) or value.ndim not in (3, 4):
            continue
        tokens = network.as_tokens(value)
        found[f"pooled {title}"] = tokens.mean(dim=1)
        found[f"tokens {title}"] = token_similarity(tokens)
        logits = network.logits_after(tokens)
        if logits is not None:
            found[f"answer {title}"] = logits.argmax(dim=1)
    for places in layers.branches.values():
        for place in places:
            if place.branch in values and place.stream in values:  # not where a block is fused
                branch, stream = (values[name].flatten(1) for name in (place.branch, place.stream))
                found[f"branch {place.branch}"] = branch.norm(dim=1) / stream.norm(dim=1)
    return found


def _steps(pooled: Sequence[Tensor]) -> Floats | None:
    if len({one.shape[1] for one in pooled}) > 1 or len(pooled) < 2:
        return None
    return torch.stack(
        [F.cosine_similarity(before, after) for before, after in pairwise(pooled)]
    ).numpy()


def _shares(answers: Sequence[Tensor], right: Sequence[Sequence[int]]) -> Floats:
    """Return the share of right answers of each layer."""
    pairs = (zip(one.tolist(), right, strict=True) for one in answers)
    return np.array([fmean(answer in classes for answer, classes in layer) for layer in pairs])
