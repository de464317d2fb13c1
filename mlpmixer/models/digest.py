"""A key of what a model is: the same for the same answers, wherever it is stored."""

from hashlib import blake2b

import torch

from mlpmixer.models.interface import ImageModel


def model_digest(model: ImageModel) -> str:
    """Return 32 hexadecimal digits that follow from all that decides on a picture's probabilities.

    That is the model's shape, options and weights, its preprocessing, and its loss.
    """
    said = (model.name, sorted(model.options.items()), model.preprocessing, model.loss)
    key = blake2b(repr(said).encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        key.update(name.encode())
        key.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return key.hexdigest()
