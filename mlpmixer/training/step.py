"""One optimisation step: the same object trains, is timed by the studies, and is tested."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from mlpmixer.engines.training_blocks import use_native_training
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.randomness import derived_seed
from mlpmixer.runtime import Runtime
from mlpmixer.training.by_position import draw_by_position
from mlpmixer.training.distillation import image_losses, training_loss
from mlpmixer.training.optim import Optimizers, averaged
from mlpmixer.training.parallel import SharedModel, shards
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.sharpness import SharpnessAware

if TYPE_CHECKING:
    from mlpmixer.training.sharding import Assembly


class StepResult(NamedTuple):
    """What a step saw: scalars that stay on the device, so that nobody waits for them."""

    loss: Tensor
    """Mean over the rank's images of the batch, where each counts the same."""
    correct: Tensor
    """How many of them had a class with the target's largest share as their most probable one."""
    gradient_norm: Tensor
    """Global norm before clipping."""


class TrainingStep:
    """Moves a model by one batch: forward and backward in parts, clipping, update, averaging.

    Args:
        model: the model, on the runtime's device; parameters that need no gradient stay.
        recipe: optimizer, loss, seed, and whether the model is compiled.
        runtime: where it runs, and in which precision.
        class_weights: what an image of each class counts in the loss that is minimised, (K,); a
            mixture of images counts what they do, in its shares. By default all count the same.
    """

    def __init__(
        self,
        model: ImageModel,
        recipe: Recipe,
        runtime: Runtime,
        class_weights: Tensor | None = None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.runtime = runtime
        self._class_weights = (
            None if class_weights is None else class_weights.float().to(runtime.device)
        )
        decay = recipe.optimizer.ema
        self.average = averaged(model, decay) if decay else None
        self._positions = draw_by_position(model)
        if not recipe.compute.compile:
            use_native_training(model, runtime)
        self._assembly = self._shard() if shards(model, recipe, runtime) else None
        self._shared = SharedModel(model, runtime, sharded=self._assembly is not None)
        self.optimizers = Optimizers(model, recipe.optimizer)
        rho, every = recipe.optimizer.sam_rho, recipe.optimizer.sam_every
        self.sharpness = SharpnessAware(model, rho, every) if rho else None
        shared = self._shared.module
        self._forward = compiled(shared) if recipe.compute.compile else shared

    def __call__(
        self,
        images: Tensor,
        targets: Tensor,
        number: int,
        factor: float,
        teacher_logits: Tensor | None = None,
    ) -> StepResult:
        """Make the step.

        Args:
            images: (B, 3, H, W) in [-1, 1], on the device; of several ranks its own ones of the
                batch, every `world`-th.
            targets: (B, K) shares in [0, 1].
            number: of the step; what dropout draws follows from it and the seed.
            factor: share of the peak learning rates, in [0, 1].
            teacher_logits: (B, K) for these images, where there is a teacher.

        Raises:
            MixerError: the model cannot be compiled.
        """
        self.model.train()

        def backward() -> tuple[Tensor, Tensor]:
            return self._backward(images, targets, teacher_logits, number)

        if self.sharpness is None:
            loss, correct = backward()
        else:
            loss, correct = self.sharpness(number, backward)
        norm = self.optimizers.step(factor)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return StepResult(loss, correct, norm)

    def _backward(
        self, images: Tensor, targets: Tensor, teacher_logits: Tensor | None, number: int
    ) -> tuple[Tensor, Tensor]:
        """Add the batch's gradients to those that are there; return its loss and right answers."""
        seed = derived_seed(self.recipe.compute.seed, "dropout", number)
        loss = correct = torch.zeros((), device=images.device)
        parts = self.recipe.optimizer.accumulate
        own_parts = images.chunk(parts)
        answered: Sequence[Tensor | None] = [None] * len(own_parts)
        if teacher_logits is not None:
            answered = teacher_logits.chunk(parts)
        shares = zip(own_parts, targets.chunk(parts), answered, self._shown(images), strict=True)
        for n, (part, wanted, taught, self._positions.shown) in enumerate(shares, start=1):
            torch.manual_seed(seed)
            with self._shared.passing(last=n == parts):
                with self.runtime.autocast():
                    logits = self._forward(part)
                own, shown = self._losses(logits, wanted, taught)
                share = len(part) / len(images)
                (own * share).backward()
            loss = loss + shown * share
            chosen = logits.detach().argmax(dim=1, keepdim=True)
            correct = correct + (wanted.gather(1, chosen)[:, 0] == wanted.amax(dim=1)).sum()
        return loss, correct

    def _losses(
        self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise, and the one to show, in which all images count the same.

        What is shown can be compared between weights; a rare class in a batch is no explosion.
        """
        if self._class_weights is None:
            own = training_loss(logits, targets, teacher_logits, self.recipe)
            return own, own.detach()
        losses = image_losses(logits, targets, teacher_logits, self.recipe)
        # Not divided by the batch's own weights: its mean is right over all batches, and so parts
        # of a batch and shares of ranks add up to the whole.
        return (losses * (targets @ self._class_weights)).mean(), losses.detach().mean()

    def _shown(self, images: Tensor) -> Sequence[Tensor | None]:
        """Return the positions in the whole batch of each part; None where it is the batch."""
        ranks, parts = self.runtime.ranks, self.recipe.optimizer.accumulate
        if ranks.world == parts == 1:
            return [None]
        batch = self._positions.batch = len(images) * ranks.world
        return torch.arange(batch, device=images.device)[ranks.own].chunk(parts)

    @property
    def evaluated(self) -> ImageModel:
        """The weights that count: the averaged ones where there are.

        Of a sharded model, a copy that is put together anew: all ranks ask for it at once.
        """
        model = self.model if self.average is None else self.average.module
        assert isinstance(model, ImageModel)
        return model if self._assembly is None else self._assembly(model, self.runtime.device)

    @property
    def sharded(self) -> bool:
        """Whether weights and what belongs to them are cut up over the ranks."""
        return self._assembly is not None

    def _shard(self) -> "Assembly":
        from mlpmixer.training.sharding import Assembly, mesh_of, shard  # slow to load

        mesh = mesh_of(self.runtime)
        assembly = Assembly(self.model)
        shard(self.model, mesh)
        if self.average is not None:
            assert isinstance(self.average.module, ImageModel)
            shard(self.average.module, mesh)
        return assembly


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the model's forward pass, compiled when it is called first.

    That call raises MixerError where the compiler fails.
    """
    from torch._dynamo.exc import TorchDynamoException  # slow to import, and only needed here

    run = torch.compile(model)

    def forward(images: Tensor) -> Tensor:
        try:
            logits: Tensor = run(images)
        except TorchDynamoException as error:
            reason = next(line for line in str(error).splitlines() if line.strip()).rstrip(".")
            raise MixerError(f"torch.compile failed: {reason}. Leave --compile out.") from error
        return logits

    return forward


def check_compiler(device: torch.device) -> None:
    """Raise UsageError where torch.compile lacks the C++ compiler that it needs on CPUs."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise UsageError(
            f"--compile needs a C++ compiler, and {compiler!r} is not here: install it, name "
            "another one in the environment variable CXX, or leave --compile out."
        )
