"""What a training minimises: the labels' loss, a teacher's answers, or some of both.

Distillation as in "a good teacher is patient and consistent" (https://arxiv.org/abs/2106.05237):
the student is to give the teacher's probabilities for the very same pixels, and labels are not
needed. As in section 2.1 of https://arxiv.org/abs/1503.02531 the divergence is multiplied by the
square of the temperature, so that gradients keep their size.
"""

from torch import Tensor
from torch.nn import functional as F

from mlpmixer.models.interface import Loss
from mlpmixer.training.loss import classification_loss, classification_losses
from mlpmixer.training.recipe import Recipe


def training_loss(
    logits: Tensor, targets: Tensor, teacher_logits: Tensor | None, recipe: Recipe
) -> Tensor:
    """Return the mean loss over a batch, as the recipe says.

    Args:
        logits: (B, K) the model's, of any floating type; computed in float32.
        targets: (B, K) shares in [0, 1] from the labels. They are not looked at where the teacher's
            answers have the whole weight.
        teacher_logits: (B, K) in the terms of the recipe's loss; None without a teacher.
        recipe: loss, temperature and weight.
    """
    if teacher_logits is None:
        return classification_loss(logits, targets, recipe.loss)
    options = recipe.distillation
    taught = divergence(logits, teacher_logits, options.teacher_temperature, recipe.loss.loss)
    if options.teacher_weight == 1:
        return taught
    labelled = classification_loss(logits, targets, recipe.loss)
    return options.teacher_weight * taught + (1 - options.teacher_weight) * labelled


def image_losses(
    logits: Tensor, targets: Tensor, teacher_logits: Tensor | None, recipe: Recipe
) -> Tensor:
    """Return the loss of each image, (B,); their mean is `training_loss`, which see."""
    if teacher_logits is None:
        return classification_losses(logits, targets, recipe.loss)
    options = recipe.distillation
    taught = divergences(logits, teacher_logits, options.teacher_temperature, recipe.loss.loss)
    if options.teacher_weight == 1:
        return taught
    labelled = classification_losses(logits, targets, recipe.loss)
    return options.teacher_weight * taught + (1 - options.teacher_weight) * labelled


def divergence(logits: Tensor, teacher_logits: Tensor, temperature: float, loss: Loss) -> Tensor:
    """Return the mean Kullback-Leibler divergence of a model's probabilities from a teacher's.

    Under softmax that of the distribution over the classes; under sigmoid the sum over the classes
    of that of each by itself. It is 0 where the model answers as the teacher does.

    Args:
        logits: (B, K) the model's.
        teacher_logits: (B, K).
        temperature: above 0; divides all logits, and its square multiplies the result.
        loss: what the logits mean.
    """
    return divergences(logits, teacher_logits, temperature, loss).mean()


def divergences(logits: Tensor, teacher_logits: Tensor, temperature: float, loss: Loss) -> Tensor:
    """Return the divergence of each image, (B,); their mean is `divergence`, which see."""
    ours, theirs = logits.float() / temperature, teacher_logits.float() / temperature
    if loss == "softmax":
        each = F.kl_div(
            ours.log_softmax(1), theirs.log_softmax(1), reduction="none", log_target=True
        )
    else:
        shares = theirs.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(theirs, shares, reduction="none")
        crossed = F.binary_cross_entropy_with_logits(ours, shares, reduction="none")
        each = crossed - entropy
    return each.sum(dim=1) * temperature**2
