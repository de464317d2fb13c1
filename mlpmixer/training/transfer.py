"""Starting from trained weights: which model, which head, which parameters still move."""

from collections.abc import Sequence
from dataclasses import fields

import torch

from mlpmixer.data.class_positions import class_positions
from mlpmixer.errors import UsageError
from mlpmixer.models.checks import height_and_width
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.registry import create_model
from mlpmixer.training.recipe import ModelOptions, OptimizerOptions
from mlpmixer.values import flag
from mlpmixer.weights.checkpoint import load

_REGULARISATION = ("dropout", "stochastic_depth")
_NOT_OF_THE_SHAPE = (
    *("model", "start_from", "image_size", "zero_init_residual", "grad_checkpointing"),
    *_REGULARISATION,
)


def start_from(options: ModelOptions, class_names: Sequence[str]) -> ImageModel:
    """Return the model of a checkpoint, made ready for other images and classes.

    The model is moved to the image size asked for. Where the classes are those that the checkpoint
    knows, its head is kept, its logits in the order of `class_names`; else the head starts anew at
    zero.

    Raises:
        UsageError: an option is not free once the weights are given, or the size does not fit.
        MixerError: the checkpoint is damaged.
    """
    assert options.start_from is not None
    for one in fields(options):
        if one.name not in _NOT_OF_THE_SHAPE and getattr(options, one.name) is not None:
            raise UsageError(
                f"{flag(one.name)} belongs to the checkpoint {options.start_from}: leave it out."
            )
    model = load(options.start_from)
    model.check_layers()
    if options.image_size is not None and height_and_width(options.image_size) != model.image_size:
        model = model.resized(options.image_size)
    names = model.class_names or ()
    order, _ = class_positions(names, class_names)
    if sorted(order) == list(range(len(names))) and len(names) == len(class_names):
        _order_head(model, order)
    else:
        model.reset_classifier(len(class_names))
    chosen = {
        name: value for name in _REGULARISATION if (value := getattr(options, name)) is not None
    }
    if chosen:
        regularised = create_model(model.name, **{**model.options, **chosen})
        regularised.load_state_dict(model.state_dict())
        model = regularised.taking_over(model)
    if options.grad_checkpointing:
        model.set_grad_checkpointing(True)
    model.class_names = tuple(class_names)
    return model.train()


def _order_head(model: ImageModel, order: list[int]) -> None:
    """Bring the logits into another order."""
    with torch.no_grad():
        for head in model.head_layers():
            head.weight.copy_(head.weight[order].clone())
            if head.bias is not None:
                head.bias.copy_(head.bias[order].clone())


def freeze(model: ImageModel, options: OptimizerOptions) -> None:
    """Let only the head and the last blocks move, where `train_last` asks for it.

    Raises:
        UsageError: the model has fewer blocks, or does not tell which blocks it has.
    """
    if options.train_last is None and options.layer_decay == 1:
        return
    behind = blocks_behind(model)
    last, depth = options.train_last, max(behind.values()) - 1
    if last is None:
        return
    if last > depth:
        raise UsageError(
            f"--train-last {last} is more than the model's {depth} blocks: give 0 to {depth}."
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(behind[name] <= last)


def blocks_behind(model: ImageModel) -> dict[str, int]:
    """Return how many blocks stand between each parameter and the head, counting its own.

    0 for the head, 1 for the last block and the final norm, one more than there are blocks for the
    stem.

    Raises:
        UsageError: the model does not tell which blocks it has.
    """
    groups = reversed(model.layer_groups())
    return {name: number for number, group in enumerate(groups) for name in group}
