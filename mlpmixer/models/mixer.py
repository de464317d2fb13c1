"""MLP-Mixer: two MLPs in turn, one across tokens, one across channels.

Section 2 of "MLP-Mixer: An all-MLP Architecture for Vision" (https://arxiv.org/abs/2105.01601).
An image is cut into S patches, each mapped linearly to C channels; the table X (S, C) then runs
through identical blocks

    U = X + W2 gelu(W1 LayerNorm(X))     down each column: tokens talk, channels share weights
    Y = U + W4 gelu(W3 LayerNorm(U))     along each row: channels talk, tokens share weights

and is normalised, averaged over tokens and classified by a linear layer.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel

GELU_FORMS = {"tanh": "tanh", "erf": "none"}


@dataclass(frozen=True, kw_only=True)
class MixerConfig:
    """The shape of a Mixer and its regularisation, in the paper's terms.

    Raises UsageError where the numbers do not fit each other.
    """

    image_size: tuple[int, int]
    """Height and width of the input in pixels; the patch size divides both."""
    patch_size: int
    """Side P of a patch in pixels."""
    width: int
    """Channels C of a token."""
    depth: int
    """Number of blocks."""
    tokens_mlp_dim: int
    """Hidden units D_S of the token-mixing MLPs."""
    channels_mlp_dim: int
    """Hidden units D_C of the channel-mixing MLPs."""
    num_classes: int
    """Outputs of the head; 0 leaves the head out."""
    in_channels: int = 3
    """Colour channels of the input."""
    gelu: Literal["tanh", "erf"] = "tanh"
    """The tanh approximation (the authors' JAX code) or the exact form (timm's port)."""
    layer_norm_epsilon: float = 1e-6
    """Added to the variance in every LayerNorm."""
    dropout: float = 0.0
    """Probability of dropping an MLP's hidden or output value, in [0, 1)."""
    stochastic_depth: float = 0.0
    """Probability of dropping the last block's branches, growing linearly from 0 with depth."""
    head_bias: float = 0.0
    """Initial bias of the head, e.g. -6.9 for sigmoid loss on 1000 classes."""
    input_mean: tuple[float, ...] = (0.5,)
    """What the weights expect to be subtracted from pixels in [0, 1], of each or all channels."""
    input_std: tuple[float, ...] = (0.5,)
    """What they expect the difference to be divided by. 0.5 and 0.5 give [-1, 1], the rule."""

    def __post_init__(self) -> None:
        height, width = self.image_size
        sizes = ("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim")
        for name in (*sizes, "in_channels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} must be at least 1.")
        if self.num_classes < 0:
            raise UsageError(f"num_classes {self.num_classes} must not be negative.")
        if min(height, width) < 1 or height % self.patch_size or width % self.patch_size:
            side = self.patch_size
            near = max(side, round(height / side) * side), max(side, round(width / side) * side)
            fits = f"{near[0]}" if height == width else f"{near[0]} {near[1]}"
            raise UsageError(
                f"image size {height}x{width} cannot be cut into patches of {side}x{side} pixels. "
                f"Use --image-size {fits}, or a --patch-size that divides it."
            )
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} is outside [0, 1).")
        if self.gelu not in GELU_FORMS:
            raise UsageError(f"gelu {self.gelu!r} is unknown: use 'tanh' or 'erf'.")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per column and per row."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Number of patches S."""
        return self.grid[0] * self.grid[1]


class PatchEmbedding(nn.Module):
    """The stem: one linear layer, shared by all patches."""

    def __init__(self, patch_size: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Linear(in_channels * patch_size**2, width)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to tokens (B, S, C), row by row."""
        side = self.patch_size
        patches = images.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, 3, h, P, w, P)
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, h, w, 3·P·P)
        return self.proj(patches.flatten(1, 2))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, on the last dimension."""

    def __init__(self, width: int, hidden: int, gelu: str, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU(approximate=GELU_FORMS[gelu])
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., width) to (..., width)."""
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(values)))))


class StochasticDepth(nn.Module):
    """Drops a whole residual branch of single images (https://arxiv.org/abs/1603.09382)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Zero the branch (B, S, C) of some images while training, and scale up the others."""
        if not self.training or self.probability == 0:
            return branch
        kept = 1 - self.probability
        mask = torch.empty(len(branch), 1, 1, device=branch.device).bernoulli_(kept)
        return branch * (mask / kept).to(branch.dtype)

    def extra_repr(self) -> str:
        return f"probability={self.probability:g}"


class MixerBlock(nn.Module):
    """Token mixing, then channel mixing, each in a residual branch (equation 1)."""

    def __init__(self, config: MixerConfig, stochastic_depth: float) -> None:
        super().__init__()
        epsilon = config.layer_norm_epsilon
        tokens, channels = config.num_tokens, config.width
        self.norm1 = nn.LayerNorm(channels, eps=epsilon)
        self.mlp_tokens = Mlp(tokens, config.tokens_mlp_dim, config.gelu, config.dropout)
        self.norm2 = nn.LayerNorm(channels, eps=epsilon)
        self.mlp_channels = Mlp(channels, config.channels_mlp_dim, config.gelu, config.dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map X (B, S, C) to Y (B, S, C)."""
        mixed = self.mlp_tokens(self.norm1(tokens).transpose(1, 2))  # (B, C, S)
        tokens = tokens + self.stochastic_depth(mixed.transpose(1, 2))  # U (B, S, C)
        return tokens + self.stochastic_depth(self.mlp_channels(self.norm2(tokens)))


class Mixer(ImageModel):
    """An MLP-Mixer image classifier.

    Args:
        config: its shape; see `mlpmixer.models.presets` for the paper's.
        name: the preset that the shape came from, kept so that the model can be built again.

    The weights start as Flax starts the authors': LeCun-normal kernels, zero biases; the head's
    kernel is zero.
    """

    def __init__(self, config: MixerConfig, name: str = "mixer") -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.grad_checkpointing = False
        self.stem = PatchEmbedding(config.patch_size, config.in_channels, config.width)
        slope = config.stochastic_depth / max(1, config.depth - 1)
        self.blocks = nn.ModuleList(
            MixerBlock(config, stochastic_depth=slope * i) for i in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_epsilon)
        self.head = self._new_head(config.num_classes)
        self.stem.apply(initialize)
        self.blocks.apply(initialize)

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""
        return asdict(self.config)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.config.image_size

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """Width C of the pooled representation."""
        return self.config.width

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to normalised tokens (B, S, C).

        Raises ValueError where the images are not of `image_size`.
        """
        return self.norm(self._blocks(self._stem(images), self.config.depth)[-1])

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Average tokens (B, S, C) to (B, C) and, unless `pre_logits`, map them to logits."""
        pooled = tokens.mean(dim=1)  # (B, C)
        return pooled if pre_logits else self.head(pooled)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return what chosen blocks put out, under timm's conventions.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            indices: the blocks; an integer n means the last n, None all of them.
            norm: apply the final LayerNorm to each of them.
            stop_early: leave out the blocks behind the last chosen one.
            output_fmt: (B, C, h, w) or tokens (B, S, C).
            intermediates_only: return the list alone, not (final tokens, list).
        """
        depth = self.config.depth
        if indices is None or isinstance(indices, int):
            indices = list(range(depth - (depth if indices is None else indices), depth))
        chosen = [range(depth)[i] for i in indices]
        outputs = self._blocks(self._stem(images), max(chosen) + 1 if stop_early else depth)
        final = self.norm(outputs[-1])
        picked = [self.norm(outputs[i + 1]) if norm else outputs[i + 1] for i in chosen]
        if output_fmt == "NCHW":
            picked = [tokens.transpose(1, 2).unflatten(2, self.config.grid) for tokens in picked]
        return picked if intermediates_only else (final, picked)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh zero head for `num_classes` classes in place; 0 leaves the head out."""
        self.config = replace(self.config, num_classes=num_classes)
        self.head = self._new_head(num_classes).to(self.norm.weight.device)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def _stem(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (self.config.in_channels, *self.image_size):
            expected = (self.config.in_channels, *self.image_size)
            raise ValueError(f"images of shape {tuple(images.shape)}: expected (B, *{expected})")
        if self.config.input_mean != (0.5,) or self.config.input_std != (0.5,):
            images = self._renormalize(images)
        return self.stem(images)  # (B, S, C)

    def _renormalize(self, images: Tensor) -> Tensor:
        """Bring images in [-1, 1] into the range that foreign weights were trained with."""
        mean = images.new_tensor(self.config.input_mean)[:, None, None]
        std = images.new_tensor(self.config.input_std)[:, None, None]
        return (images / 2 + 0.5 - mean) / std

    def _blocks(self, tokens: Tensor, depth: int) -> list[Tensor]:
        outputs = [tokens]
        for block in list(self.blocks)[:depth]:
            if self.grad_checkpointing and torch.is_grad_enabled():
                outputs.append(checkpoint(block, outputs[-1], use_reentrant=False))
            else:
                outputs.append(block(outputs[-1]))
        return outputs

    def _new_head(self, num_classes: int) -> nn.Module:
        if num_classes == 0:
            return nn.Identity()
        head = nn.Linear(self.config.width, num_classes)
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, self.config.head_bias)
        return head


def initialize(module: nn.Module) -> None:
    """Give a linear layer Flax's default start: LeCun-normal weight, zero bias.

    The normal distribution is cut at two standard deviations and widened so that the variance
    is 1/fan_in all the same.
    """
    if isinstance(module, nn.Linear):
        spread = module.in_features**-0.5 / 0.87962566103423978  # std of the cut normal
        nn.init.trunc_normal_(module.weight, std=spread, a=-2 * spread, b=2 * spread)
        nn.init.zeros_(module.bias)
