"""The frozen representation of images: computed once, and kept by what it was computed from."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlpmixer.data.augment import prepare
from mlpmixer.data.batches import Images
from mlpmixer.data.cache import data_home
from mlpmixer.files import replacing
from mlpmixer.models.capture import capture
from mlpmixer.models.digest import model_digest
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import autocast


@torch.inference_mode()
def extract(
    model: ImageModel,
    images: Images,
    *,
    layer: str | None = None,
    batch_size: int = 256,
    precision: torch.dtype = torch.float32,
    keep: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the features (N, D) float32 and labels (N,) of all readable images, in order.

    Args:
        model: any model of `create_model`, on its device.
        images: the images, as stored.
        layer: a name of `intermediate_names(model)`, whose value is averaged over tokens or
            places; None takes the pooled representation before the head.
        batch_size: images a step.
        precision: type of the matrix products.
        keep: look for the features on the disk, and leave them there. The key is a digest of the
            weights, the pixels, the layer and the precision: nothing stale can be found.
        on_progress: called with the share done, in [0, 1].
    """
    model.eval()
    device = next(model.parameters()).device
    file = _file(model, images, layer, precision) if keep else None
    if file is not None and file.exists():
        stored = load_file(file)
        return stored["features"], stored["labels"]
    features, labels, seen = [], [], 0
    for batch in images.evaluation_batches(batch_size):
        inputs = prepare(batch.images.to(device), model.image_size, batch.aspect_ratios)
        with autocast(device, precision):
            value = _represent(model, inputs, layer)
        features.append(value.float().cpu())
        labels.append(batch.labels.cpu())
        seen += len(batch.labels)
        if on_progress is not None:
            on_progress(min(1.0, seen / len(images)))
    found = {"features": torch.cat(features), "labels": torch.cat(labels)}
    if file is not None:
        with replacing(file) as temporary:
            save_file(found, temporary)
    return found["features"], found["labels"]


def _represent(model: ImageModel, inputs: Tensor, layer: str | None) -> Tensor:
    """Return one vector (B, D) an image."""
    if layer is None:
        return model.forward_head(model.forward_features(inputs), pre_logits=True)
    value = capture(model, inputs, [layer])[layer]
    if value.ndim == 4:
        return value.mean(dim=(2, 3))  # (B, C, h, w)
    return value.mean(dim=1) if value.ndim == 3 else value  # (B, S, C)


def _file(
    model: ImageModel, images: Images, layer: str | None, precision: torch.dtype
) -> Path | None:
    """Return where the features of this model and these images belong; None if that is unknown."""
    content = images.digest()
    if content is None:
        return None
    key = f"{content} {model_digest(model)} {layer} {precision}"
    digest = blake2b(key.encode(), digest_size=16).hexdigest()
    return data_home() / "features" / f"{digest}.safetensors"
