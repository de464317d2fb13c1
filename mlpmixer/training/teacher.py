"""A teacher: a model whose answers to the training's own images are learned.

"Consistent" teaching (https://arxiv.org/abs/2106.05237) shows both models the same crop, flip and
mixture of every image. So the teacher gets the batch as the student gets it, and changes nothing of
it but its size. Every model here takes images in [-1, 1] and normalises them inside itself.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpmixer.data.class_positions import class_positions
from mlpmixer.engines.optimize import for_inference
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.forward import respond
from mlpmixer.formatting import size_text
from mlpmixer.models.digest import model_digest
from mlpmixer.models.interface import ImageModel, Loss
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import DistillationOptions, Recipe
from mlpmixer.values import flag
from mlpmixer.weights.checkpoint import load

Answer = Callable[[Tensor, Tensor], Tensor]
"""From images (B, 3, H, W) and their positions (B,) in the split to logits (B, K)."""
_SURE = 1e4  # log odds of what is certain; infinite ones would give 0 times infinity
_SHOWN = 3  # class names in a message


class Teacher:
    """Answers as a student's logits would have to be, in the order of the student's classes.

    Args:
        model: any, on the runtime's device; it is put into evaluation mode.
        logits: (K,) which of its logits stands for each of the student's classes.
        loss: what the student's logits mean.
        runtime: where it computes, and in which precision.
        parts: that a batch is cut into, to save memory.
    """

    def __init__(
        self, model: ImageModel, logits: Sequence[int], loss: Loss, runtime: Runtime, parts: int = 1
    ) -> None:
        self._own_loss = model.loss
        self._loss = loss
        self._runtime = runtime
        self._parts = parts
        self._logits = torch.tensor(logits, device=runtime.device)
        said = f"{model_digest(model)} {list(logits)} {loss}"
        self.digest = blake2b(said.encode(), digest_size=16).hexdigest()
        """Key of what decides on its answers: weights, preprocessing, order of the classes."""
        model.requires_grad_(False)
        alone = model.own_runtime is not None  # it computes as it is
        self.model: ImageModel = model.eval() if alone else for_inference(model, runtime)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the answers (B, K), float32, without gradients.

        `images` (B, 3, H, W) in [-1, 1] are what the student sees, of any size, on the device.
        """
        with torch.no_grad():
            parts = [
                respond(self.model, self.seen(part), self._runtime)
                for part in images.chunk(self._parts)
            ]
            # Engines answer in inference mode, whose tensors no loss can keep: this copies them.
            chosen = torch.cat(parts)[:, self._logits]
            return translated(chosen, self._own_loss, self._loss)

    def seen(self, images: Tensor) -> Tensor:
        """Return the student's images (B, 3, H, W) in the teacher's size, in [-1, 1].

        Images of another aspect ratio are stretched: nothing of what the student sees is cut off.
        """
        size = self.model.image_size
        if images.shape[-2:] == size:
            return images
        how = self.model.preprocessing.resampling
        resized = F.interpolate(images, size, mode=how, align_corners=False, antialias=True)
        return resized.clamp_(-1, 1)  # bicubic overshoots


def translated(logits: Tensor, own: Loss, wanted: Loss) -> Tensor:
    """Return logits (B, K) of a model trained with one loss in the terms of another one.

    From softmax to sigmoid they become the log odds of each class. From sigmoid to softmax they
    stay: of independent classes, given that exactly one is there, it is each with the probability
    that the softmax of their log odds gives.
    """
    if own == wanted or own == "sigmoid":
        return logits
    shares = logits.log_softmax(1)
    rest = torch.log1p(-shares.exp())
    top = shares.argmax(1, keepdim=True)
    # Of the largest share the rest would be rounded away: it is summed up from the others.
    others = shares.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    return (shares - rest.scatter(1, top, others)).clamp(-_SURE, _SURE)


def find_teacher(
    recipe: Recipe, class_names: Sequence[str], student: ImageModel, runtime: Runtime
) -> tuple[Teacher | None, str]:
    """Load the recipe's teacher for a student of these classes, and say in words what it is.

    None and nothing where the recipe has none.

    Raises:
        UsageError: it cannot be found, or lacks a class; an option belongs to a teacher.
        MixerError: it is damaged.
    """
    options = recipe.distillation
    if options.teacher is None:
        _check_unused(options)
        return None, ""
    model = load(options.teacher, class_names=options.teacher_class_names)
    if model.in_channels != student.in_channels:
        raise UsageError(
            f"the teacher {options.teacher} takes images of {model.in_channels} channels, the "
            f"model of {student.in_channels}: choose another teacher."
        )
    order = order_of_classes(options.teacher, model, class_names)
    parts = recipe.optimizer.accumulate
    teacher = Teacher(model.to(runtime.device), order, recipe.loss.loss, runtime, parts)
    size = size_text(model.image_size)
    said = f"the teacher is {model.name} ({options.teacher}), {size} pixels"
    if model.class_names is None:
        said += (
            "; it does not name its classes: they are taken to be the data's, in their order; if "
            "that is not so, give --teacher-class-names FILE"
        )
    elif model.num_classes > len(order):
        said += f"; of its {model.num_classes:,} classes the {len(order):,} of the data count"
    return teacher, said


def _check_unused(options: DistillationOptions) -> None:
    usual = DistillationOptions()
    for name in ("teacher_class_names", "teacher_temperature", "teacher_weight"):
        if getattr(options, name) != getattr(usual, name):
            raise UsageError(
                f"{flag(name)} {getattr(options, name)} belongs to a teacher: give --teacher "
                "too, or leave it out."
            )


def order_of_classes(spec: str, model: ImageModel, class_names: Sequence[str]) -> list[int]:
    """Return which logit of a teacher stands for each class, (K,), matched by name.

    The teacher may know more classes: their logits are left out, so its answers are those given
    that the image is of one of the others.

    Raises:
        UsageError: it does not know a class, or names none and has another number of logits.
    """
    known = model.class_names
    if known is None:
        if model.num_classes != len(class_names):
            raise UsageError(
                f"the teacher {spec} has {model.num_classes} logits without names, the data "
                f"{len(class_names)} classes: name the teacher's by --teacher-class-names FILE."
            )
        return list(range(len(class_names)))
    places, unknown = class_positions(known, class_names)
    if unknown:
        _, others = class_positions(class_names, known)
        raise UsageError(
            f"the teacher {spec} does not know {len(unknown)} of the data's {len(class_names)} "
            f"classes: {_some(unknown)}. "
            + (f"It knows {_some(others)} instead. " if others else "")
            + "Give a teacher of these classes, or their names by --teacher-class-names FILE."
        )
    return places


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
