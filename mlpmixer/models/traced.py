"""A model as one graph of PyTorch's operations, from which programs for other runtimes are made."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mlpmixer.models.interface import ImageModel

InputType = Literal["float32", "uint8"]


class _Graph(nn.Module):
    """From images to logits or, with `features`, to the last layer's values."""

    def __init__(self, model: ImageModel, input_type: InputType, features: bool) -> None:
        super().__init__()
        self.model = model
        self.from_pixels = input_type == "uint8"
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        if self.from_pixels:
            images = images.to(torch.float32) / 127.5 - 1
        return self.model.forward_features(images) if self.features else self.model(images)


def traced(
    model: ImageModel, input_type: InputType = "float32", *, features: bool = False
) -> ExportedProgram:
    """Return the graph of a model in evaluation mode, for batches of any size.

    Args:
        model: any, on the CPU; it stays as it is.
        input_type: float32: images (B, 3, H, W) in [-1, 1], called "images" in the graph;
            uint8: the same images as pixels from 0 to 255, normalised inside.
        features: end with what `forward_features` returns instead of logits (B, K).
    """
    shape = (2, model.in_channels, *model.image_size)  # one image would make the batch a constant
    example = torch.zeros(shape, dtype=getattr(torch, input_type))
    training = model.training
    graph = _Graph(model, input_type, features).eval()
    try:
        with torch.no_grad():
            batch = Dim("batch", min=1)
            return torch.export.export(graph, (example,), dynamic_shapes={"images": {0: batch}})
    finally:
        cast(nn.Module, model).train(training)
