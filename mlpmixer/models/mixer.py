"""MLP-Mixer: two MLPs in turn, one across tokens, one across channels.

Section 2 of "MLP-Mixer: An all-MLP Architecture for Vision" (https://arxiv.org/abs/2105.01601).
An image is cut into S patches, each mapped linearly to C channels; the table X (S, C) then runs
through identical blocks

    U = X + W2 gelu(W1 LayerNorm(X))     down each column: tokens talk, channels share weights
    Y = U + W4 gelu(W3 LayerNorm(U))     along each row: channels talk, tokens share weights

and is normalised, averaged over tokens and classified by a linear layer.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mlpmixer.errors import UsageError
from mlpmixer.kernels.native import MixerShape
from mlpmixer.models import checks
from mlpmixer.models.block_network import BlockNetwork
from mlpmixer.models.interface import TokenMlp
from mlpmixer.models.layers import (
    StochasticDepth,
    check_images,
    lecun_normal,
    renormalize,
    renormalized_stem,
)
from mlpmixer.models.resize import resize_weights

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
        sizes = ("patch_size", "width", "depth", "tokens_mlp_dim", "channels_mlp_dim")
        counts = {name: getattr(self, name) for name in (*sizes, "in_channels")}
        checks.check_minimum(1, **counts)
        checks.check_minimum(0, num_classes=self.num_classes)
        checks.check_patches(self.image_size, (self.patch_size, self.patch_size))
        checks.check_probability(dropout=self.dropout, stochastic_depth=self.stochastic_depth)
        checks.check_choice("gelu", self.gelu, GELU_FORMS)
        checks.check_channels(
            self.in_channels, input_mean=self.input_mean, input_std=self.input_std
        )
        if not min(self.input_std) > 0:
            raise UsageError(f"input_std {self.input_std} must be positive.")
        if not 0 <= self.layer_norm_epsilon < 1:
            raise UsageError(f"layer_norm_epsilon {self.layer_norm_epsilon} is outside [0, 1).")

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


class Mixer(BlockNetwork):
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
        self.stem = PatchEmbedding(config.patch_size, config.in_channels, config.width)
        slope = config.stochastic_depth / max(1, config.depth - 1)
        self.blocks = nn.ModuleList(
            MixerBlock(config, stochastic_depth=slope * i) for i in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_epsilon)
        self.head = self._new_head(config.num_classes)
        self.stem.apply(lecun_normal)
        self.blocks.apply(lecun_normal)

    def embed(self, images: Tensor) -> Tensor:
        """Cut images (B, 3, H, W) in [-1, 1] into patches and map each to a token, (B, S, C).

        Raises ValueError where the images are not of `image_size`.
        """
        config = self.config
        check_images(images, config.in_channels, config.image_size)
        return self.stem(renormalize(images, config.input_mean, config.input_std))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to normalised tokens (B, S, C).

        Raises ValueError where the images are not of `image_size`.
        """
        return self.norm(self.run(self.embed(images)))

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Average tokens (B, S, C) to (B, C) and, unless `pre_logits`, map them to logits."""
        pooled = tokens.mean(dim=1)  # (B, C)
        return pooled if pre_logits else self.head(pooled)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh zero head for `num_classes` classes in place; 0 leaves the head out."""
        self.config = replace(self.config, num_classes=num_classes)
        self.head = self._new_head(num_classes).to(self.norm.weight)
        self.forget_classes()

    def _new_head(self, num_classes: int) -> nn.Module:
        if num_classes == 0:
            return nn.Identity()
        head = nn.Linear(self.config.width, num_classes)
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, self.config.head_bias)
        return head

    def resized(self, image_size: int | tuple[int, ...], **how: Any) -> "Mixer":
        """Return a Mixer for another image size; see `mlpmixer.resize`, also for `how`."""
        changes, weights = resize_weights(
            self.state_dict(), self.image_size, self.config.patch_size, image_size, **how
        )
        with torch.device("meta"):
            resized = Mixer(replace(self.config, **changes), self.name)
        resized.load_state_dict(weights, assign=True)
        resized.set_grad_checkpointing(self.grad_checkpointing)
        return resized.training_like(self).taking_over(self)

    def token_mlps(self) -> list[TokenMlp]:
        """Return the parameters of each block's MLP across tokens."""
        parts = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
        return [
            TokenMlp(*(self.get_parameter(f"{block}.mlp_tokens.{part}") for part in parts))
            for block in self.block_names
        ]

    def residual_ends(self) -> list[nn.Linear]:
        """Return the second layer of each MLP."""
        mlps = ("mlp_tokens", "mlp_channels")
        ends = (f"{block}.{mlp}.fc2" for block in self.block_names for mlp in mlps)
        return [end for end in map(self.get_submodule, ends) if isinstance(end, nn.Linear)]

    def for_kernels(self) -> tuple[MixerShape, list[Tensor]]:
        """Return shape and weights for the native kernels."""
        config = self.config
        shape = MixerShape(
            **{field.name: getattr(config, field.name) for field in fields(MixerShape)}
        )
        weight, bias, *rest = (parameter.detach() for parameter in self.parameters())
        stem = renormalized_stem(weight, bias, config.input_mean, config.input_std)
        return shape, [*stem, *rest]

    @property
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""
        return asdict(self.config)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.config.image_size

    @property
    def in_channels(self) -> int:
        """Colour channels of the input."""
        return self.config.in_channels

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """Width C of the pooled representation."""
        return self.config.width

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Patches per column and per row."""
        return self.config.grid
