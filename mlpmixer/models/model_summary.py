"""What a model is made of and what it costs: layers, parameters, multiplications, memory.

A summary is measured on a copy without numbers (`hollow`, inside PyTorch's FakeTensorMode), as the
model would run on a CPU in its own precision: H/14 takes a second and no gigabytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from mlpmixer.models.hollow import hollow_copy
from mlpmixer.models.interface import ImageModel

FLOPS_PER_MAC = 2
"""Floating-point operations of a multiply-accumulate."""
TRAINING_FLOPS_PER_MAC = 3 * FLOPS_PER_MAC
"""Of a training step for each multiply-accumulate of a forward pass: once forward, and twice as
many backward."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A row of the table: a module with parameters or multiplications of its own."""

    name: str
    """Path of the module; "blocks.0-11.norm1" for twelve that are alike; "" for the model."""
    kind: str
    """Name of its class."""
    output_shape: tuple[int, ...]
    """Of what it returns, (B, ...); () for a module that only lends its parameters."""
    parameters: int
    """In one module, without those of the modules inside it."""
    macs: int
    """Multiply-accumulates for one image in one module, without those of modules inside it."""
    count: int = 1
    """How many modules the row stands for."""
    block: tuple[str, str] | None = None
    """Path and class of the innermost numbered module around it, such as "blocks.0"."""


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """The outcome of `summarize_model`."""

    name: str
    image_size: tuple[int, int]
    num_classes: int
    num_features: int
    tokens: int | None
    """Number of tokens S, a class token included; None where features form a map."""
    layers: tuple[Layer, ...]
    """In order of execution."""
    parameters: int
    macs: int
    """Multiply-accumulates of a forward pass for one image, in matrix products and convolutions."""
    activation_bytes: int
    """Memory that a training step keeps for the backward pass, for each image more in the batch."""

    @property
    def gmacs(self) -> float:
        """Billions of multiply-accumulates of a forward pass for one image."""
        return self.macs / 1e9


def summarize_model(model: ImageModel, batch_size: int = 1) -> ModelSummary:
    """Measure a model; its weights, mode and device are left as they are.

    Args:
        model: any model of `create_model`, on any device, "meta" included.
        batch_size: number of images B in the output shapes.

    Raises:
        UsageError: the model is an exported file, without layers to be told apart.
    """
    model.check_layers()
    mode = FakeTensorMode()
    with mode:
        copy = hollow_copy(model, "cpu")
        shape = model.in_channels, *model.image_size
        images = torch.empty(batch_size, *shape, dtype=_dtype(model))
        layers, macs = _trace(copy.eval(), images)
        with torch.no_grad():
            features = copy.forward_features(images)
        copy.train()
        # The difference of two batches leaves out what does not grow with them. BatchNorm takes
        # no single image.
        kept = [_bytes_kept(copy, torch.cat([images[:1]] * size)) for size in (2, 3)]
    return ModelSummary(
        name=model.name,
        image_size=model.image_size,
        num_classes=model.num_classes,
        num_features=model.num_features,
        tokens=features.shape[1] if features.ndim == 3 else None,
        layers=tuple(layers),
        parameters=count_parameters(model),
        macs=macs,
        activation_bytes=kept[1] - kept[0],
    )


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: ImageModel) -> int:
    """Return `summarize_model(model).macs` alone, on the meta device and in a tenth of the time."""
    copy = hollow_copy(model, "meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shape = 1, model.in_channels, *model.image_size
        copy(torch.empty(shape, dtype=_dtype(model), device="meta"))
    return counter.get_total_flops() // FLOPS_PER_MAC


def fold(layers: Iterable[Layer], limit: int | None = 40) -> list[Layer]:
    """Return the layers with numbered modules that are alike in one row.

    Args:
        layers: those of a summary.
        limit: where more rows than this are left, every numbered block becomes one row; None
            never does that.
    """
    rows = list(layers)
    folded = _fold(rows, 0)
    if limit is None or len(folded) <= limit:
        return folded
    return _fold([_merge(list(block)) for _, block in groupby(rows, lambda row: _block(row))], 0)


def _trace(model: nn.Module, images: Tensor) -> tuple[list[Layer], int]:
    """Run the model and return its layers, and its multiply-accumulates for one image."""
    inputs: dict[str, tuple[int, ...]] = {}  # shapes by path, of the first call, in its order
    outputs: dict[str, tuple[int, ...]] = {}
    for path, module in model.named_modules():

        def enter(_: nn.Module, given: tuple[Any, ...], path: str = path) -> None:
            inputs.setdefault(path, _shape(given[0] if given else None))

        def leave(_: nn.Module, __: Any, result: Any, path: str = path) -> None:
            outputs.setdefault(path, _shape(result))

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    with torch.no_grad(), _flop_counter() as counter:
        model(images)
    root = type(model).__name__
    macs = dict.fromkeys(inputs, 0)
    own = dict.fromkeys(inputs, 0)
    for path in inputs:
        flops = counter.get_flop_counts().get(f"{root}.{path}" if path else root, {})
        macs[path] = own[path] = sum(flops.values()) // (FLOPS_PER_MAC * len(images))
        if path:
            own[_caller(path, inputs)] -= macs[path]
    modules = dict(model.named_modules())
    layers = []
    for path in _with_silent_owners(list(inputs), modules):
        layer = Layer(
            name=path,
            kind=type(modules[path]).__name__,
            output_shape=outputs.get(path, ()),
            parameters=sum(one.numel() for one in modules[path].parameters(recurse=False)),
            macs=own.get(path, 0),
            block=_enclosing_block(path, modules),
        )
        leaf = next(modules[path].children(), None) is None
        reshapes = leaf and inputs.get(path, ()) != layer.output_shape
        if layer.parameters or layer.macs or reshapes:
            layers.append(layer)
    return layers, macs[""]


def _caller(path: str, called: Iterable[str]) -> str:
    """Return the innermost of the `called` modules around the one at `path`."""
    around = [one for one in called if one == "" or path.startswith(f"{one}.")]
    return max(around, key=len)


def _with_silent_owners(called: list[str], modules: dict[str, nn.Module]) -> list[str]:
    """Return the paths of `called` modules, and of others that have parameters of their own.

    Those others, whose methods are used but which are not called, stand before what is inside.
    """
    paths = list(called)
    for path, module in modules.items():
        if path not in called and next(module.parameters(recurse=False), None) is not None:
            inside = [i for i, one in enumerate(paths) if one.startswith(f"{path}.")]
            paths.insert(inside[0] if inside else len(paths), path)
    return paths


def _bytes_kept(model: nn.Module, images: Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, without parameters."""
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other takes its address
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(storage.nbytes() for storage in kept.values())


def _flop_counter() -> FlopCounterMode:
    """Return PyTorch's counter, which lacks the CPU's attention."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={operator: attention})


def _dtype(model: nn.Module) -> torch.dtype:
    return next((one.dtype for one in model.parameters()), torch.float32)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _enclosing_block(path: str, modules: dict[str, nn.Module]) -> tuple[str, str] | None:
    parts = path.split(".")
    numbered = [i for i, part in enumerate(parts) if part.isdigit()]
    if not numbered:
        return None
    block = ".".join(parts[: numbered[-1] + 1])
    return block, type(modules[block]).__name__


def _block(layer: Layer) -> str:
    return layer.block[0] if layer.block else layer.name


def _merge(rows: list[Layer]) -> Layer:
    """Return one row for the rows of a block."""
    last = rows[-1]
    if last.block is None:
        return last
    return replace(
        last,
        name=last.block[0],
        kind=last.block[1],
        parameters=sum(row.parameters for row in rows),
        macs=sum(row.macs for row in rows),
    )


def _fold(rows: list[Layer], depth: int) -> list[Layer]:
    """Fold neighbours that differ in part `depth` of their names alone, or in one behind it."""
    groups: list[tuple[list[str], list[Layer]]] = []  # numbers folded together, first one's rows
    for part, members in groupby(rows, lambda row: _part(row, depth)):
        group = list(members)
        if groups and part.isdigit() and _alike(groups[-1][1], group, depth):
            groups[-1][0].append(part)
        else:
            groups.append(([part], group))
    folded: list[Layer] = []
    for numbers, group in groups:
        if len(numbers) > 1:
            group = [_numbered(row, depth, numbers) for row in group]
        longer = any(row.name.count(".") > depth for row in group)
        folded += _fold(group, depth + 1) if longer else group
    return folded


def _part(row: Layer, depth: int) -> str:
    parts = row.name.split(".")
    return parts[depth] if depth < len(parts) else ""


def _alike(one: list[Layer], other: list[Layer], depth: int) -> bool:
    """Tell whether two groups of rows are the same but for the number in part `depth`."""

    def content(row: Layer) -> tuple[object, ...]:
        rest = row.name.split(".")[depth + 1 :]
        return rest, row.kind, row.output_shape, row.parameters, row.macs

    return _part(one[0], depth).isdigit() and list(map(content, one)) == list(map(content, other))


def _numbered(row: Layer, depth: int, numbers: list[str]) -> Layer:
    parts = row.name.split(".")
    parts[depth] = f"{numbers[0]}-{numbers[-1]}"
    return replace(row, name=".".join(parts), count=row.count * len(numbers))
