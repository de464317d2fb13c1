"""What a stem, blocks, a norm and a head can do beside classifying, by where they stand.

Everything here goes by position and name, never by what a block is, so that a faster block in
another's place is run, watched and trained like it.
"""

from abc import abstractmethod

from torch import Tensor, nn

from mlpmixer.models.interface import ImageModel, Intermediates
from mlpmixer.models.layers import chosen_blocks, run_blocks


class BlockNetwork(ImageModel):
    """A network whose blocks all map tokens (B, S, C) to tokens (B, S, C).

    Attributes:
        stem: makes tokens of images.
        blocks: run one after the other; only their call is used.
        norm: normalises the last tokens.
        head: maps pooled tokens (B, C) to logits.
    """

    stem: nn.Module
    blocks: nn.ModuleList
    norm: nn.LayerNorm
    head: nn.Module
    grad_checkpointing = False

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to the tokens (B, S, C) that enter the first block.

        Raises ValueError where the images are not of `image_size`.
        """

    def run(self, tokens: Tensor) -> Tensor:
        """Run tokens (B, S, C) through all blocks, keeping no output in between."""
        return run_blocks(self.blocks, tokens, recompute=self.grad_checkpointing)[0]

    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        chosen = chosen_blocks(wanted.indices, len(self.blocks))
        blocks = list(self.blocks)[: max(chosen) + 1 if wanted.stop_early else None]
        tokens, kept = run_blocks(
            blocks, self.embed(images), keep=chosen, recompute=self.grad_checkpointing
        )
        picked = [self.norm(kept[i]) if wanted.norm else kept[i] for i in chosen]  # (B, S, C) each
        assert self.patch_grid is not None
        maps = [one.mT.unflatten(2, self.patch_grid) for one in picked]  # (B, C, h, w) each
        return self.norm(tokens) if wanted.final else None, maps

    def logits_after(self, values: Tensor) -> Tensor | None:
        """Return the logits (B, K) that a block's tokens (B, S, C) lead to; None without a head."""
        return self.forward_head(self.norm(values)) if self.num_classes else None

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    @property
    def block_names(self) -> tuple[str, ...]:
        """The names of the blocks' modules, in order."""
        return tuple(f"blocks.{i}" for i in range(len(self.blocks)))

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters' names by stem, block (the last with the norm), and head."""
        stem, *blocks, norm, head = (
            [f"{module}.{name}" for name, _ in self.get_submodule(module).named_parameters()]
            for module in ("stem", *self.block_names, "norm", "head")
        )
        return [stem, *blocks[:-1], blocks[-1] + norm, head]
