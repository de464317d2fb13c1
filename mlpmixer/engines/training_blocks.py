"""Mixer blocks that train by the native kernels: the same parameters, the same outputs, faster."""

import torch
from torch import Tensor, nn

from mlpmixer.errors import MixerError
from mlpmixer.kernels.ceilings import arithmetic
from mlpmixer.kernels.native import levels_here
from mlpmixer.kernels.self_check import choose_training_level
from mlpmixer.kernels.training import Across, MlpOptions, TrainingPrecision, mixing
from mlpmixer.models.mixer import GELU_FORMS, MixerBlock, Mlp
from mlpmixer.runtime import Runtime

TRAINED_IN: dict[torch.dtype, TrainingPrecision] = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
}
"""What the kernels' products multiply for a runtime's precision."""


class NativeMixerBlock(MixerBlock):
    """A block whose two MLPs the native kernels compute in training on the CPU.

    In bfloat16 they do so under autocast, where products of bfloat16 take the place of PyTorch's;
    what leaves the block is float32. Everywhere else, with dropout, and with other weights than
    float32, it is the block that it was made of.
    """

    level: str
    precision: TrainingPrecision

    def forward(self, tokens: Tensor) -> Tensor:
        """Map X (B, S, C) to Y (B, S, C)."""
        if not self._fits(tokens):
            return super().forward(tokens)
        tokens = self._mixed("tokens", tokens.float(), self.norm1, self.mlp_tokens)
        return self._mixed("channels", tokens, self.norm2, self.mlp_channels)

    def _fits(self, tokens: Tensor) -> bool:
        return (
            self.training
            and torch.is_grad_enabled()
            and tokens.device.type == "cpu"
            and self._has_precision_of(tokens)
            and all(weight.dtype == torch.float32 for weight in self.parameters())
            and not self.mlp_tokens.dropout.p
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        )

    def _has_precision_of(self, tokens: Tensor) -> bool:
        if self.precision == "float32":
            return tokens.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return (
            tokens.dtype in TRAINED_IN
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )

    def _mixed(self, across: Across, tokens: Tensor, norm: nn.LayerNorm, mlp: Mlp) -> Tensor:
        whole = self.stochastic_depth.probability == 0
        options = MlpOptions(
            across=across,
            gelu="tanh" if mlp.act.approximate == GELU_FORMS["tanh"] else "erf",
            layer_norm_epsilon=norm.eps,
            residual=whole,
            level=self.level,
            precision=self.precision,
        )
        weights = (norm.weight, norm.bias, mlp.fc1.weight, mlp.fc1.bias)
        mixed = mixing(tokens, (*weights, mlp.fc2.weight, mlp.fc2.bias), options)
        return mixed if whole else tokens + self.stochastic_depth(mixed)


def native_training_level(precision: TrainingPrecision) -> str | None:
    """Return the level by which blocks train here; None where PyTorch is the faster way.

    That is so in bfloat16 where the hardware does not multiply it faster than float32.
    """
    if arithmetic(precision) != precision:
        return None
    try:
        level = choose_training_level(precision)
    except MixerError:
        return None  # no kernels here, as `mixer info --machine` says
    if precision == "bfloat16" and level != levels_here(precision)[0]:
        return None  # the highest one was timed; a lower one, as below AMX, may well be slow
    return None if level == "portable" else level


def use_native_training(model: nn.Module, runtime: Runtime) -> int:
    """Let a model's Mixer blocks train by the native kernels where these are the faster way.

    That is on a CPU. The blocks keep their parameters, names and places.

    Returns:
        How many blocks do.
    """
    precision = TRAINED_IN.get(runtime.precision)
    if runtime.device.type != "cpu" or precision is None:
        return 0
    blocks = [module for module in model.modules() if type(module) is MixerBlock]
    level = native_training_level(precision) if blocks else None
    if level is None:
        return 0
    for block in blocks:
        block.__class__ = NativeMixerBlock
        block.level = level  # type: ignore[assignment]
        block.precision = precision  # type: ignore[assignment]
    return len(blocks)
