"""The frozen representation of images: computed once, and kept by what it was computed from."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mlpmixer.data.batches import Images
from mlpmixer.data.cache import data_home
from mlpmixer.evaluation.classify import NotFinite
from mlpmixer.evaluation.forward import BATCH_SIZE, Forward, layer_features, pooled_features
from mlpmixer.models.digest import model_digest
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime
from mlpmixer.weights.own_format import write_tensors


def extract(
    model: ImageModel,
    images: Images,
    runtime: Runtime,
    *,
    layer: str | None = None,
    batch_size: int = BATCH_SIZE,
    keep: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the features (N, D) float32 and labels (N,) of all readable images, in order.

    Args:
        model: any model of `create_model`, on the runtime's device; left in evaluation mode.
        images: the images, as stored.
        runtime: where to run, and in which precision.
        layer: a name of `intermediate_names(model)`, whose value is averaged over tokens or
            places; None takes the pooled representation before the head.
        batch_size: images a step.
        keep: look for the features on the disk, and leave them there. The key is a digest of the
            weights, the pixels, the layer and the precision: nothing stale can be found.
        on_progress: called with the share done, in [0, 1].

    Raises:
        UsageError: there is no readable image.
        NotFinite: a feature is no number.
    """
    file = _file(model, images, layer, runtime.precision) if keep else None
    stored = runtime.ranks.from_lead(lambda: _stored(file))
    if stored is not None:
        return stored["features"], stored["labels"]
    output = pooled_features if layer is None else layer_features(layer)
    forward = Forward(
        model, images, runtime, output, batch_size=batch_size, on_progress=on_progress
    )
    features, labels = zip(*((one.values.cpu(), one.labels.cpu()) for one in forward), strict=True)
    found = {"features": torch.cat(features), "labels": torch.cat(labels)}
    if not bool(found["features"].isfinite().all()):
        raise NotFinite()
    if file is not None and runtime.ranks.leads:
        write_tensors(found, file, {})
    return found["features"], found["labels"]


def _stored(file: Path | None) -> dict[str, Tensor] | None:
    return None if file is None or not file.exists() else load_file(file)


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
