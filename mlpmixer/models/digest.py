"""A key of what a model is: the same for the same numbers, wherever they are stored."""

from hashlib import blake2b

import torch

from mlpmixer.models.interface import ImageModel


def model_digest(model: ImageModel) -> str:
    """Return 32 hexadecimal digits that follow from the model's shape, options and weights."""
    key = blake2b(f"{model.name} {sorted(model.options.items())}".encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        key.update(name.encode())
        key.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return key.hexdigest()
