"""Mixer blocks that train by the native kernels: the same parameters, the same outputs, faster."""

import torch
from torch import Tensor, nn

from mlpmixer.errors import MixerError
from mlpmixer.kernels.self_check import choose_training_level
from mlpmixer.kernels.training import Across, MlpOptions, mixing
from mlpmixer.models.mixer import GELU_FORMS, MixerBlock, Mlp
from mlpmixer.runtime import Runtime


class NativeMixerBlock(MixerBlock):
    """A block whose two MLPs the native kernels compute in training, in float32 on the CPU.

    Everywhere else, and with dropout, it is the block that it was made of.
    """

    level: str

    def forward(self, tokens: Tensor) -> Tensor:
        """Map X (B, S, C) to Y (B, S, C)."""
        if not self._fits(tokens):
            return super().forward(tokens)
        tokens = self._mixed("tokens", tokens, self.norm1, self.mlp_tokens)
        return self._mixed("channels", tokens, self.norm2, self.mlp_channels)

    def _fits(self, tokens: Tensor) -> bool:
        return (
            self.training
            and torch.is_grad_enabled()
            and tokens.device.type == "cpu"
            and tokens.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not self.mlp_tokens.dropout.p
            and not torch.compiler.is_compiling()
        )

    def _mixed(self, across: Across, tokens: Tensor, norm: nn.LayerNorm, mlp: Mlp) -> Tensor:
        whole = self.stochastic_depth.probability == 0
        options = MlpOptions(
            across=across,
            gelu="tanh" if mlp.act.approximate == GELU_FORMS["tanh"] else "erf",
            layer_norm_epsilon=norm.eps,
            residual=whole,
            level=self.level,
        )
        weights = (norm.weight, norm.bias, mlp.fc1.weight, mlp.fc1.bias)
        mixed = mixing(tokens, (*weights, mlp.fc2.weight, mlp.fc2.bias), options)
        return mixed if whole else tokens + self.stochastic_depth(mixed)


def native_training_level() -> str | None:
    """Return the level by which blocks train here; None where PyTorch is the faster way."""
    try:
        level = choose_training_level()
    except MixerError:
        return None  # no kernels here, as `mixer info --machine` says
    return None if level == "portable" else level


def use_native_training(model: nn.Module, runtime: Runtime) -> int:
    """Let a model's Mixer blocks train by the native kernels where these are the faster way.

    That is on a CPU in float32. The blocks keep their parameters, names and places.

    Returns:
        How many blocks do.
    """
    if runtime.device.type != "cpu" or runtime.precision != torch.float32:
        return 0
    blocks = [module for module in model.modules() if type(module) is MixerBlock]
    level = native_training_level() if blocks else None
    if level is None:
        return 0
    for block in blocks:
        block.__class__ = NativeMixerBlock
        block.level = level  # type: ignore[assignment]
    return len(blocks)
