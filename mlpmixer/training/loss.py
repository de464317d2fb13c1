"""The two cross-entropies of the paper, on soft targets, of each image and of a batch."""

from torch import Tensor
from torch.nn import functional as F

from mlpmixer.training.recipe import LossOptions


def classification_loss(logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
    """Return the mean loss over a batch.

    Args:
        logits: (B, K), of any floating type; computed in float32.
        targets: (B, K) shares in [0, 1]: of one label, of a mixture, or of several labels.
        options: softmax takes the classes as exclusive; sigmoid asks for each class by itself and
            sums over the classes. Label smoothing spreads a share of the target evenly.
    """
    logits, targets = logits.float(), _smoothed(targets, options)
    if options.loss == "softmax":
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)


def classification_losses(logits: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
    """Return the loss of each image, (B,); their mean is `classification_loss`, which see."""
    logits, targets = logits.float(), _smoothed(targets, options)
    if options.loss == "softmax":
        return F.cross_entropy(logits, targets, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)


def _smoothed(targets: Tensor, options: LossOptions) -> Tensor:
    if not options.label_smoothing:
        return targets
    return targets * (1 - options.label_smoothing) + options.label_smoothing / targets.shape[1]
