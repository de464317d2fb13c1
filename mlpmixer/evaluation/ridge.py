"""L2-regularised linear regression in closed form, for a whole sweep of strengths at once.

The paper's few-shot probe (section 3.1 of https://arxiv.org/abs/2105.01601): features are whitened
by the support set's mean and standard deviation, a large constant is appended as bias, labels are
+1 for the class and -1 for all others, and the regression from features to labels is solved. One
eigendecomposition, of the smaller of XᵀX and XXᵀ, serves all strengths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BIAS = 100.0
"""The constant feature. It is large so that the regularisation hardly acts on the bias."""
STRENGTHS: tuple[float, ...] = tuple(2.0**power for power in range(-10, 20, 2))
"""The strengths that are tried unless others are given."""
FIXED_STRENGTH = 2.0**10
"""The one that the authors' released evaluator takes for all data and numbers of shots."""
LEAST_SPREAD = 1e-5
"""Added to every standard deviation, as the authors do: a feature that is all but constant is
rounding, and would be blown up to count like any other."""


@dataclass(frozen=True)
class RidgeSweep:
    """The regressions of one support set, at all strengths.

    With features X = basis spanned by `directions`, the scores at strength λ are
    X · directions · diag(1 / (eigenvalues + λ)) · targets.
    """

    mean: Tensor  # (D,)
    std: Tensor  # (D,)
    directions: Tensor  # (D + 1, M)
    eigenvalues: Tensor  # (M,)
    targets: Tensor  # (M, K)
    strengths: tuple[float, ...]

    def scores(self, features: Tensor) -> Iterator[Tensor]:
        """Yield the scores (T, K) of features (T, D) at each strength, in their order."""
        projected = _with_bias(features.to(self.mean), self.mean, self.std) @ self.directions
        for strength in self.strengths:
            yield (projected / (self.eigenvalues + strength)) @ self.targets


def fit(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
    precision: torch.dtype = torch.float64,
) -> RidgeSweep:
    """Solve the regression from features (N, D) to labels (N,) at every strength.

    Args:
        features: (N, D) of the support set.
        labels: (N,) class indices.
        num_classes: number of classes K.
        strengths: of the L2 regularisation, above 0.
        precision: of the arithmetic.
    """
    features = features.to(precision)
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0) + LEAST_SPREAD
    inputs = _with_bias(features, mean, std)  # (N, D + 1)
    count, width = inputs.shape
    if count >= width:  # primal: XᵀX = QΛQᵀ
        eigenvalues, vectors = torch.linalg.eigh(inputs.mT @ inputs)
        directions, targets = vectors, vectors.mT @ _label_sums(inputs, labels, num_classes)
    else:  # dual: XXᵀ = QΛQᵀ, and the weights are Xᵀ times the dual solution
        eigenvalues, vectors = torch.linalg.eigh(inputs @ inputs.mT)
        directions = inputs.mT @ vectors
        targets = _label_sums(vectors, labels, num_classes)
    eigenvalues = eigenvalues.clamp(min=0)  # what is below is rounding
    return RidgeSweep(mean, std, directions, eigenvalues, targets, tuple(strengths))


def _with_bias(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    whitened = (features - mean) / std
    return torch.cat([whitened, whitened.new_full((len(whitened), 1), BIAS)], dim=1)


def _label_sums(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return rowsᵀ · Y (M, K) for rows (N, M) and the ±1 label matrix Y (N, K).

    Y is 2·onehot - 1, so the product is a sum of rows a class; it needs no N·M·K operations.
    """
    sums = rows.new_zeros(num_classes, rows.shape[1]).index_add_(0, labels, rows)  # (K, M)
    return (2 * sums - rows.sum(dim=0)).mT
