"""A recipe with its open questions answered: the data opened, the model built, all of it checked.

Everything that can be wrong with a request is found here, before the long work begins.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from mlpmixer.data.augment import Augmenter
from mlpmixer.data.balance import remark
from mlpmixer.data.blocks import blocks_in
from mlpmixer.data.dataset import Dataset
from mlpmixer.data.image_sizes import common_size
from mlpmixer.data.label_sets import is_multi_label, need_one_label
from mlpmixer.data.protocol_splits import arrange_splits
from mlpmixer.data.random_crops import settle_crop
from mlpmixer.data.sources import open_source
from mlpmixer.data.train_fraction import keep_share
from mlpmixer.data.value_range import darkness
from mlpmixer.errors import UsageError
from mlpmixer.evaluation.classify import SEVERAL_CLASSES
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.layers import zero_weights
from mlpmixer.models.presets import is_mixer, mixer_config
from mlpmixer.models.registry import create_model
from mlpmixer.randomness import derived_seed
from mlpmixer.run.tracker import check_tracker
from mlpmixer.runtime import Runtime
from mlpmixer.training.batch_checks import check_batch, check_parts
from mlpmixer.training.memory_check import check_memory
from mlpmixer.training.recipe import ModelOptions, Recipe, check_budget, check_patience
from mlpmixer.training.schedule import Schedule
from mlpmixer.training.step import check_compiler
from mlpmixer.training.teacher import Teacher, find_teacher
from mlpmixer.training.transfer import freeze, start_from
from mlpmixer.values import check_ranges

LARGEST_OWN_SIZE = 64
"""Images that are all alike and up to this many pixels a side are taken at their own size."""


@dataclass(frozen=True)
class Plan:
    """A training that can begin."""

    recipe: Recipe
    """The one that was asked for, with the image size, the crop and the model settled."""
    dataset: Dataset
    notes: tuple[str, ...]
    """What was decided about the data, in sentences."""
    runtime: Runtime
    model: ImageModel
    """On the runtime's device, with the parameters frozen that are not to move."""
    schedule: Schedule
    teacher: Teacher | None = None
    """Whose answers are learned."""


def plan(recipe: Recipe, runtime: Runtime) -> Plan:
    """Open the data, build the model and check that all of it fits.

    Raises:
        UsageError: something that was asked for cannot be done.
    """
    check_ranges(recipe)
    check_budget(recipe.schedule)
    check_tracker(recipe.tracking.tracker)
    check_batch(recipe, runtime.ranks)
    dataset = open_source(recipe.data.data)
    if "train" not in dataset.splits:
        raise UsageError(f"{recipe.data.data} has no training images, only {list(dataset.splits)}.")
    options = replace(recipe.data, data=dataset.spec)
    recipe = replace(recipe, data=options)
    if recipe.loss.loss == "softmax":
        need_one_label(dataset, "which the softmax loss takes as exclusive", "use --loss sigmoid")
    dataset, note = arrange_splits(
        dataset, options.splits, options.validation_fraction, recipe.compute.seed
    )
    dataset = keep_share(dataset, options.train_fraction, recipe.compute.seed)
    check_patience(recipe.schedule, validation="validation" in dataset.splits)
    train = dataset.splits["train"]
    if recipe.loss.balance != "none":
        need_one_label(dataset, "and --balance goes by one class an image", "leave --balance out")
    if recipe.loss.balance == "sampling" and blocks_in(train) is not None:
        raise UsageError(
            f"--balance sampling cannot draw from {dataset.spec}, which is read in blocks: use "
            "--balance weights."
        )
    recipe = replace(recipe, model=_with_image_size(recipe.model, dataset))
    torch.manual_seed(derived_seed(recipe.compute.seed, "weights"))
    if recipe.model.start_from is None:
        if is_mixer(recipe.model.model):
            alone = runtime.device.type == "cpu" and runtime.ranks.world == 1
            shape = _shape(recipe.model, len(dataset.class_names))
            config = mixer_config(recipe.model.model, **shape)
            check_memory(config, moved=alone and recipe.optimizer.train_last is None)
        model = build(recipe.model, len(dataset.class_names))
    else:
        model = start_from(recipe.model, dataset.class_names)
        recipe = replace(recipe, model=replace(recipe.model, model=model.name))
    model.loss = recipe.loss.loss
    if options.sixteen_bit != "auto":
        model.preprocessing = replace(model.preprocessing, sixteen_bit=options.sixteen_bit)
    freeze(model, recipe.optimizer)
    model = model.to(runtime.device)
    augment = settle_crop(recipe.augment, train, model.image_size)
    recipe = replace(recipe, augment=augment)
    Augmenter(augment, model.num_classes)  # checks its options
    check_parts(recipe)
    if recipe.compute.compile:
        check_compiler(runtime.device)
    schedule = Schedule.of(recipe, len(train))
    dark = darkness(dataset.splits) if model.preprocessing.sixteen_bit == "full" else ""
    several = SEVERAL_CLASSES if is_multi_label(dataset) else ""
    unequal = "" if several else remark(train.labels, dataset.class_names, recipe.loss.balance)
    teacher, said = find_teacher(recipe, dataset.class_names, model, runtime)
    start = _on_the_start(recipe.model, model)
    notes = (note, *dataset.remarks, several, unequal, dark, said, start)
    return Plan(recipe, dataset, tuple(filter(None, notes)), runtime, model, schedule, teacher)


def _on_the_start(options: ModelOptions, model: ImageModel) -> str:
    """Return what there is to say where a recipe or an option asks for a start at zero in vain."""
    if not options.zero_init_residual:
        return ""
    if options.start_from is not None:
        return "a start at zero changes nothing here: the weights are the checkpoint's"
    if not model.residual_ends():
        return f"a start at zero changes nothing here: {model.name} has a start of its own"
    return ""


def build(options: ModelOptions, num_classes: int) -> ImageModel:
    """Build the model that the options describe, with fresh weights.

    Raises:
        UsageError: an option is not one of this model, or does not fit.
    """
    shuffle = ("input_shuffle", "shuffle_patch_size")
    given = {name: value for name in shuffle if (value := getattr(options, name)) is not None}
    model = create_model(options.model, **_shape(options, num_classes), **given)
    if options.zero_init_residual:
        zero_weights(model.residual_ends())
    if options.grad_checkpointing:
        model.set_grad_checkpointing(True)
    return model


def _shape(options: ModelOptions, num_classes: int) -> dict[str, Any]:
    """Return what the options say of the network itself, by the names of `create_model`."""
    names = (
        *("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim", "gelu"),
        *("head_bias", "dropout", "stochastic_depth"),
    )
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    size = options.image_size
    size = None if size is None else (size[0], size[-1])
    return {"image_size": size, "num_classes": num_classes, **given}


def _with_image_size(options: ModelOptions, dataset: Dataset) -> ModelOptions:
    """Return the options with the image size settled."""
    size = options.image_size
    if size is not None:
        if len(size) not in (1, 2):
            raise UsageError(f"image size {size}: give one side, or height and width.")
        return options
    own = common_size(dataset.splits["train"])
    if own is not None and max(own) <= LARGEST_OWN_SIZE and options.start_from is None:
        return replace(options, image_size=own)
    return options  # the model's own
