"""What a planned training works with: its images, ready to be batched, and its step."""

from collections.abc import Collection

import torch

from mlpmixer.data.balance import EvenClasses, class_weights
from mlpmixer.data.batches import Images
from mlpmixer.data.loader import UNCHANGED
from mlpmixer.data.placement import place_images
from mlpmixer.data.reading import read_split, tell_skipped
from mlpmixer.run.console import Console
from mlpmixer.training.plan import Plan
from mlpmixer.training.step import TrainingStep


def read_images(
    planned: Plan, console: Console, wanted: Collection[str] | None = None
) -> dict[str, Images]:
    """Make the splits of a plan ready to be batched, or those `wanted` of them.

    Raises:
        MixerError: too many images are unreadable.
    """
    recipe, preprocessing = planned.recipe, planned.model.preprocessing
    images: dict[str, Images] = {}
    for name, split in planned.dataset.splits.items():
        if wanted is not None and name not in wanted:
            continue
        training = name == "train"
        augment = recipe.augment if training else UNCHANGED
        if training and recipe.loss.balance == "sampling":
            split = EvenClasses(split)
        images[name] = read_split(split, name, preprocessing, recipe.data, console, augment)
        tell_skipped(images[name], console)
    place_images(images, planned.runtime)
    return images


def training_step(planned: Plan) -> TrainingStep:
    """Return what moves the plan's model by one batch."""
    recipe, model, weights = planned.recipe, planned.model, None
    if recipe.loss.balance == "weights":
        labels = planned.dataset.splits["train"].labels
        weights = torch.from_numpy(class_weights(labels, model.num_classes))
    return TrainingStep(model, recipe, planned.runtime, weights)
