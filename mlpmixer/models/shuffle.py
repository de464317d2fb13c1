"""Models that see their input shuffled by one fixed permutation.

The paper's test of built-in assumptions (section 3.4 of https://arxiv.org/abs/2105.01601).

- patches: the patches of an image move about, and so do the pixels within each, all alike.
- pixels: all pixels move about.

To a Mixer the first makes no difference: with its weights permuted likewise, as `permute_weights`
does it, it computes the same logits and learns the same steps.
"""

import copy
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer, MixerBlock
from mlpmixer.randomness import generator

Kind = Literal["patches", "pixels"]
LARGEST_SMALL_IMAGE = 64
PAPER_PATCH_SIZE = 16


def patch_orders(tokens: int, patch_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the permutations of the patches (S,) and of the pixels in a patch (P·P,)."""
    patches = torch.randperm(tokens, generator=generator(seed, "shuffle patches"), device="cpu")
    inside = generator(seed, "shuffle pixels in patches")
    return patches, torch.randperm(patch_size**2, generator=inside, device="cpu")


def pixel_order(kind: Kind, image_size: tuple[int, int], patch_size: int, seed: int) -> Tensor:
    """Return which pixel of an image, counted row by row, comes to each place, (H·W,).

    Raises:
        UsageError: the kind is unknown, or the patch size does not divide the image.
    """
    if kind not in get_args(Kind):
        raise unknown_name("input shuffle", kind, get_args(Kind))
    height, width = image_size
    count = height * width
    if kind == "pixels":
        return torch.randperm(count, generator=generator(seed, "shuffle pixels"), device="cpu")
    if patch_size < 1 or height % patch_size or width % patch_size:
        raise UsageError(
            f"images of {height}x{width} pixels cannot be cut into patches of "
            f"{patch_size}x{patch_size}: use a --shuffle-patch-size that divides them."
        )
    patches, inside = patch_orders(count // patch_size**2, patch_size, seed)
    places = torch.arange(count, device="cpu").view(image_size)
    grid = height // patch_size, width // patch_size
    places = places.unflatten(1, (grid[1], patch_size)).unflatten(0, (grid[0], patch_size))
    places = places.permute(0, 2, 1, 3).reshape(-1, patch_size**2)  # (S, P·P)
    shuffled = places[patches][:, inside].view(*grid, patch_size, patch_size)
    return shuffled.permute(0, 2, 1, 3).reshape(-1)  # (H·W,)


class ShuffledInput(ImageModel):
    """A model that shuffles each image, then does what it always does.

    Args:
        model: any model.
        kind: "patches" or "pixels".
        patch_size: side of the patches that are moved, in pixels; None takes a Mixer's own, for
            other models an eighth of an image of up to 64 pixels, else 16 as in the paper.
        seed: of the permutation.

    Raises:
        UsageError: the kind is unknown, or the patch size does not divide the image.
    """

    order: Tensor

    def __init__(
        self, model: ImageModel, kind: Kind, patch_size: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        if patch_size is None:
            patch_size = _usual_patch_size(model)
        self.kind, self.patch_size, self.seed = kind, patch_size, seed
        self.register_buffer("order", pixel_order(kind, model.image_size, patch_size, seed))
        self.model = model
        self.name = model.name

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""
        return {
            **self.model.options,
            "input_shuffle": self.kind,
            "shuffle_patch_size": self.patch_size,
            "shuffle_seed": self.seed,
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.model.image_size

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.model.num_classes

    @property
    def num_features(self) -> int:
        """Width of the pooled representation."""
        return self.model.num_features

    def shuffle(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W), of any type, with their pixels moved about.

        Raises ValueError where the images are not of `image_size`.
        """
        if images.shape[-2:] != self.image_size:
            shape = tuple(images.shape)
            raise ValueError(f"images of shape {shape}: expected (B, 3, *{self.image_size})")
        moved = images.flatten(-2).index_select(-1, self.order)  # (B, 3, H·W)
        return moved.unflatten(-1, self.image_size)

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), not yet shuffled, to the last layer's values."""
        return self.model.forward_features(self.shuffle(images))

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the last layer's values and, unless `pre_logits`, map them to logits."""
        return self.model.forward_head(tokens, pre_logits)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh head in place; 0 classes leave it out."""
        self.model.reset_classifier(num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less memory for the backward pass and compute more."""
        self.model.set_grad_checkpointing(enable)


def permute_weights(model: Mixer, seed: int = 0) -> Mixer:
    """Return the Mixer that does on shuffled patches what `model` does on untouched images.

    With the patches permuted by π and the pixels in them by ρ, the columns of the stem follow ρ;
    of every token mixing the columns of W1, the rows of W2 and its bias follow π. All else, and the
    mean over tokens, does not know the order. The new weights are a permutation of the old, so
    gradients and optimizer steps are permuted alike: training keeps the two Mixers equal.
    """
    config = model.config
    patches, inside = patch_orders(config.num_tokens, config.patch_size, seed)
    permuted = copy.deepcopy(model)
    with torch.no_grad():
        stem = permuted.stem.proj.weight
        filters = stem.unflatten(1, (-1, config.patch_size**2))  # (C, 3, P·P)
        stem.copy_(filters[:, :, inside].flatten(1))
        for block in permuted.blocks:
            assert isinstance(block, MixerBlock)
            mixing = block.mlp_tokens
            mixing.fc1.weight.copy_(mixing.fc1.weight[:, patches].clone())
            mixing.fc2.weight.copy_(mixing.fc2.weight[patches].clone())
            mixing.fc2.bias.copy_(mixing.fc2.bias[patches].clone())
    return permuted


def _usual_patch_size(model: ImageModel) -> int:
    if isinstance(model, Mixer):
        return model.config.patch_size
    side = min(model.image_size)
    return max(1, side // 8) if side <= LARGEST_SMALL_IMAGE else PAPER_PATCH_SIZE
