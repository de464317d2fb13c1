"""A recipe: everything that is needed to run a training again, typed.

A recipe is written and read as one flat TOML file, whose keys are the flags of the command line.
The named recipes lie in the folder `recipes`. Light to import: the command line reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w

from mlpmixer.data.options import AugmentOptions, DataOptions
from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.toml_files import read_toml
from mlpmixer.values import (
    Bias,
    Count,
    CountOrZero,
    Layers,
    Pixels,
    Positive,
    Seed,
    Share,
    ShareNotOne,
    ShareNotZero,
    Strength,
    Temperature,
    Units,
    checked_value,
    type_hints,
)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which network. What is not given comes from the model's name."""

    model: str = "mixer_nano"
    """A name from `mixer info`, or timm:NAME."""
    start_from: str | None = None
    """Start from the weights of this checkpoint, run directory or hf-hub:user/name; the model is
    then the checkpoint's."""
    image_size: tuple[Pixels, ...] | None = None
    """Input in pixels, one side or height and width; by default the images' own size where they
    are all alike and small, else the model's."""
    patch_size: Pixels | None = None
    """Side of a Mixer's patches in pixels."""
    width: Units | None = None
    """Channels C of a Mixer's tokens."""
    depth: Layers | None = None
    """Number of a Mixer's blocks."""
    tokens_mlp_dim: Units | None = None
    """Hidden units D_S of a Mixer's token-mixing MLPs."""
    channels_mlp_dim: Units | None = None
    """Hidden units D_C of a Mixer's channel-mixing MLPs."""
    gelu: Literal["tanh", "erf"] | None = None
    """A Mixer's GELU: the authors' tanh approximation or the exact form."""
    head_bias: Bias | None = None
    """Initial bias of a Mixer's head; about -ln(classes) suits the sigmoid loss."""
    dropout: ShareNotOne | None = None
    """Probability of dropping a hidden value."""
    stochastic_depth: ShareNotOne | None = None
    """Probability of dropping the last block's branches; grows linearly from 0 with depth."""
    zero_init_residual: bool = False
    """Start as if there were no blocks: what ends a residual branch starts at zero. Of fresh Mixers
    and ViTs; other families have a start of their own."""
    input_shuffle: Literal["patches", "pixels"] | None = None
    """Shuffle every image by a fixed permutation: of the patches and of the pixels in them, or of
    all pixels. Tells what a model has built in."""
    shuffle_patch_size: Pixels | None = None
    """Side in pixels of the patches that are shuffled; by default a Mixer's own."""
    grad_checkpointing: bool = False
    """Keep less memory for the backward pass and compute a third more."""


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How the weights move."""

    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """muon: orthogonalised momentum for the blocks' matrices, AdamW for everything else."""
    batch_size: Count | Literal["auto"] = 128
    """Images a step; auto: as many as fit in memory, up to 1024 and an eighth of the data."""
    accumulate: Count = 1
    """Parts that a batch is cut into, to save memory; their gradients are summed up."""
    learning_rate: Strength = 1e-3
    """Peak learning rate."""
    matrix_learning_rate: Strength = 0.02
    """Peak learning rate of the matrices under optimizer=muon."""
    row_average: ShareNotOne = 0.0
    """Share that optimizer=muon keeps of the mean squares of each output unit's updates, by whose
    root they are divided (NorMuon, β₂ = 0.95); 0 turns it off."""
    weight_decay: Strength = 0.05
    """Decoupled decay a step, times the learning rate; matrices only."""
    betas: tuple[ShareNotOne, ShareNotOne] = (0.9, 0.999)
    """AdamW's averaging of the gradient and of its square."""
    momentum: ShareNotOne = 0.9
    """Momentum of optimizer=sgd."""
    clip_norm: Strength = 1.0
    """Largest global norm of the gradient; 0 turns clipping off."""
    train_last: CountOrZero | None = None
    """Train the head and this many of the last blocks alone, 0 the head alone; by default all."""
    layer_decay: ShareNotZero = 1.0
    """Factor on the learning rate from each block to the one before it."""
    sam_rho: Strength = 0.0
    """Radius of sharpness-aware minimisation, which takes twice the time a step; 0 turns it off."""
    sam_every: Count = 1
    """Look for sharpness in every so many steps alone, and use what was found in between."""
    ema: ShareNotOne = 0.0
    """Decay of the averaged weights that are evaluated and saved; 0 turns averaging off."""

    @property
    def images_a_step(self) -> int:
        """The batch size as a number.

        Raises:
            UsageError: it is "auto", which only a training of its own settles.
        """
        if self.batch_size == "auto":
            raise UsageError(
                "--batch-size auto is for `mixer train` and `mixer finetune` alone: give a number."
            )
        return self.batch_size


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """How long, and how the learning rate runs over that time. Give one budget."""

    epochs: Positive | None = None
    """Budget in passes over the training images."""
    steps: Count | None = None
    """Budget in batches."""
    minutes: Positive | None = None
    """Budget in minutes; the schedule follows the clock."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup: Share = 0.05
    """Share of the budget in which the learning rate rises linearly."""
    warmup_steps: CountOrZero | None = None
    """Length of the warm-up in steps; takes the place of --warmup."""
    final_learning_rate: Share = 0.0
    """Share of the peak learning rate that is left at the end."""
    evaluations: CountOrZero = 12
    """Evaluations on the validation images, spread evenly over the budget."""
    patience: CountOrZero = 0
    """End the training after so many evaluations without a better one; 0: never."""


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised."""

    loss: Literal["softmax", "sigmoid"] = "softmax"
    """Cross-entropy over the classes, or one of each class for itself (multi-label)."""
    label_smoothing: ShareNotOne = 0.0
    """Share of the label that is spread over all classes."""
    balance: Literal["none", "sampling", "weights"] = "none"
    """Let classes of unequal size count the same: sampling draws each equally often, weights lets
    an image count inversely to its class's frequency."""


@dataclass(frozen=True, kw_only=True)
class DistillationOptions:
    """Whose answers are learned, in place of the labels or beside them."""

    teacher: str | None = None
    """Learn the answers of this run directory, checkpoint or hf-hub:user/name to the same images:
    of any family and image size; its classes are matched by name."""
    teacher_class_names: str | None = None
    """A file with the names of the teacher's classes, in place of its own."""
    teacher_temperature: Temperature = 1.0
    """What the logits of both are divided by before they are compared."""
    teacher_weight: ShareNotZero = 1.0
    """Share of the loss that the teacher's answers have; the labels have the rest."""


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Where and how it is computed."""

    seed: Seed = 0
    """Every random choice follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where it is faster than float32 here, else float32."""
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler on CPUs."""
    shard: Literal["auto", "always", "never"] = "auto"
    """Cut weights, gradients and moments up over the ranks of torchrun; auto: where they would
    take more than half of a GPU's memory."""


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Which trackers get the metrics of the run, beside its own files."""

    tracker: Literal["mlflow", "wandb"] | None = None
    """Send the recipe, the metrics and the report to MLflow or Weights & Biases; server and
    project by their own variables."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that is needed to run a training again."""

    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    distillation: DistillationOptions = field(default_factory=DistillationOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)

    def override(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with single fields replaced, by their flat names.

        A budget (epochs, steps, minutes) takes the place of the one that stood before, a warm-up
        as a share that of one in steps.

        Raises:
            UsageError: a name is unknown or a value is of the wrong type.
        """
        groups = flat_fields()
        changes: dict[str, dict[str, Any]] = {}
        if any(values.get(budget) is not None for budget in BUDGETS):
            changes["schedule"] = dict.fromkeys(BUDGETS)
        if "warmup" in values:
            changes.setdefault("schedule", {})["warmup_steps"] = None
        for name, value in values.items():
            if name not in groups:
                raise unknown_name("recipe field", name, groups, "`mixer train --help` lists all.")
            group, annotation = groups[name]
            changes.setdefault(group, {})[name] = checked_value(name, value, annotation)
        return replace(
            self, **{group: replace(getattr(self, group), **new) for group, new in changes.items()}
        )

    def to_toml(self) -> str:
        """Return the recipe as a flat TOML file; what is None is left out."""
        parts = []
        for group in fields(self):
            options = getattr(self, group.name)
            values = {one.name: getattr(options, one.name) for one in fields(options)}
            values = {name: value for name, value in values.items() if value is not None}
            parts.append(f"# {group.name}\n{tomli_w.dumps(values)}")
        return "\n".join(parts)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a recipe; fields that are left out take their defaults.

        Raises:
            UsageError: the file is missing, cannot be read, is no TOML, or has a field that is
                unknown or of the wrong type.
        """
        values = read_toml(path, "recipe")
        try:
            return cls().override(values)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None


BUDGETS = ("epochs", "steps", "minutes")


def flat_fields() -> dict[str, tuple[str, Any]]:
    """Return every field of a recipe by its flat name: its group and its type."""
    return {
        name: (group, annotation)
        for group, options in type_hints(Recipe).items()
        for name, annotation in type_hints(options).items()
    }


def check_patience(schedule: ScheduleOptions, *, validation: bool) -> None:
    """Raise UsageError where --patience cannot end the training before its budget does.

    Args:
        schedule: the options.
        validation: whether there are validation images.
    """
    patience, evaluations = schedule.patience, schedule.evaluations
    if not patience:
        return
    if not validation:
        raise UsageError(
            f"--patience {patience} goes by validation images, and there are none: leave it out, "
            "or hold some out by --validation-fraction 0.1."
        )
    if patience >= evaluations:
        raise UsageError(
            f"--patience {patience} never ends a training of {evaluations} evaluations: use "
            f"--evaluations {4 * patience}, or less patience."
        )


def check_budget(schedule: ScheduleOptions) -> None:
    """Raise UsageError unless the schedule has exactly one budget."""
    given = [name for name in BUDGETS if getattr(schedule, name) is not None]
    if len(given) != 1:
        found = "none" if not given else " and ".join(f"--{name}" for name in given)
        raise UsageError(
            f"a training needs one budget, {found} given: use --epochs, --steps or --minutes."
        )
