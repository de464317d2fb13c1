"""Models that see their input shuffled by one fixed permutation.

The paper's test of built-in assumptions (section 3.4 of https://arxiv.org/abs/2105.01601).

- patches: the patches of an image move about, and so do the pixels within each, all alike.
- pixels: all pixels move about.

To a Mixer the first makes no difference: with its weights permuted likewise, as `permute_weights`
does it, it computes the same logits and learns the same steps.
"""

import copy
import math
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.models.checks import check_minimum
from mlpmixer.models.interface import ImageModel, Intermediates, TokenMlp
from mlpmixer.models.layers import check_images
from mlpmixer.models.wrapped import WrappedModel
from mlpmixer.randomness import generator

Kind = Literal["patches", "pixels"]
Model = TypeVar("Model", bound=ImageModel)
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
    check_minimum(1, shuffle_patch_size=patch_size)
    common = math.gcd(height, width)
    if common % patch_size:
        fitting = max(side for side in range(1, patch_size) if common % side == 0)
        raise UsageError(
            f"image size {height}x{width} cannot be cut into shuffled patches of "
            f"{patch_size}x{patch_size} pixels. Use --shuffle-patch-size {fitting}."
        )
    patches, inside = patch_orders(count // patch_size**2, patch_size, seed)
    places = torch.arange(count, device="cpu").view(image_size)
    grid = height // patch_size, width // patch_size
    places = places.unflatten(1, (grid[1], patch_size)).unflatten(0, (grid[0], patch_size))
    places = places.permute(0, 2, 1, 3).reshape(-1, patch_size**2)  # (S, P·P)
    shuffled = places[patches][:, inside].view(*grid, patch_size, patch_size)
    return shuffled.permute(0, 2, 1, 3).reshape(-1)  # (H·W,)


class ShuffledInput(WrappedModel):
    """A model that shuffles each image, then does what it always does.

    Args:
        model: any model.
        kind: "patches" or "pixels".
        patch_size: side of the patches that are moved, in pixels; None takes the model's own, or
            where it has none an eighth of an image of up to 64 pixels, else 16 as in the paper.
        seed: of the permutation.

    Raises:
        UsageError: the kind is unknown, or the patch size does not divide the image.
    """

    order: Tensor

    def __init__(
        self, model: ImageModel, kind: Kind, patch_size: int | None = None, seed: int = 0
    ) -> None:
        super().__init__(model)
        if patch_size is None:
            patch_size = _usual_patch_size(model)
        self.kind, self.patch_size, self.seed = kind, patch_size, seed
        self.register_buffer("order", pixel_order(kind, model.image_size, patch_size, seed))
        self.taking_over(model)

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""
        return {
            **self.model.options,
            "input_shuffle": self.kind,
            "shuffle_patch_size": self.patch_size,
            "shuffle_seed": self.seed,
        }

    def resized(self, image_size: int | tuple[int, ...], **how: Any) -> ImageModel:
        """Raise UsageError: the permutation is one of the pixels of this image size."""
        raise UsageError(
            f"{self.name} shuffles its input, which belongs to one image size: "
            "leave --image-size out."
        )

    def seen(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W), of any type, with their pixels moved about.

        Raises ValueError where the images are not of `image_size`.
        """
        check_images(images, images.shape[1], self.image_size)
        moved = images.flatten(-2).index_select(-1, self.order)  # (B, 3, H·W)
        return moved.unflatten(-1, self.image_size)

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), not yet shuffled, to the last layer's values."""
        return self.model.forward_features(self.seen(images))

    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        return self.model._intermediates(self.seen(images), wanted)

    def token_mlps(self) -> list[TokenMlp]:
        """Return none: what they mix are not the patches of the picture."""
        return []


def permute_weights(model: Model, seed: int = 0) -> Model:
    """Return the Mixer that does on shuffled patches what `model` does on untouched images.

    With the patches permuted by π and the pixels in them by ρ, the columns of the stem follow ρ;
    of every token mixing the columns of W1, the rows of W2 and its bias follow π. All else, and the
    mean over tokens, does not know the order. The new weights are a permutation of the old, so
    gradients and optimizer steps are permuted alike: training keeps the two Mixers equal.

    No verb calls it: it states what the paper's section 3.4 rests on, and tests hold
    `ShuffledInput` and all blocks to it.

    Raises UsageError where the model does not consist of MLPs alone.
    """
    grid = model.patch_grid
    permuted = copy.deepcopy(model)
    mixing = permuted.token_mlps()
    if not mixing or grid is None:
        raise UsageError(f"{model.name} has no MLPs across patches: no weights can be permuted.")
    side = model.image_size[0] // grid[0]
    patches, inside = patch_orders(grid[0] * grid[1], side, seed)
    with torch.no_grad():
        stem = permuted.get_parameter("stem.proj.weight")
        filters = stem.unflatten(1, (-1, side**2))  # (C, 3, P·P)
        stem.copy_(filters[:, :, inside].flatten(1))
        for mlp in mixing:
            mlp.w1.copy_(mlp.w1[:, patches].clone())
            mlp.w2.copy_(mlp.w2[patches].clone())
            mlp.b2.copy_(mlp.b2[patches].clone())
    return permuted


def _usual_patch_size(model: ImageModel) -> int:
    if model.patch_grid is not None:
        return model.image_size[0] // model.patch_grid[0]
    side = min(model.image_size)
    return max(1, side // 8) if side <= LARGEST_SMALL_IMAGE else PAPER_PATCH_SIZE
