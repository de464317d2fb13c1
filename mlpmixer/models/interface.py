"""What every model offers, whatever its family."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

import mlpmixer  # what `save` and the like need lies above the models: they go through the front
from mlpmixer.errors import UsageError
from mlpmixer.kernels.native import MixerShape
from mlpmixer.models.preprocessing import Preprocessing

Loss = Literal["softmax", "sigmoid"]


class TokenMlp(NamedTuple):
    """The parameters of an MLP across S tokens with D_S hidden units."""

    w1: Tensor
    """(D_S, S)."""
    b1: Tensor
    """(D_S,)."""
    w2: Tensor
    """(S, D_S)."""
    b2: Tensor
    """(S,)."""


class Intermediates(NamedTuple):
    """What `ImageModel.forward_intermediates` asks a family for."""

    indices: int | list[int] | None
    norm: bool
    stop_early: bool
    final: bool
    """Whether the final features are wanted too."""


class ImageModel(nn.Module):
    """An image classifier under timm's conventions. Images are (B, 3, H, W) in [-1, 1].

    What a model can do is asked here, never its class: families and fast versions of a network
    answer for themselves.

    Attributes:
        name: what `create_model` knows it by.
        class_names: the name of each logit, where the model was loaded with them.
        facts: what was saved beside the weights.
        loss: what the weights were trained with; it decides what `probabilities` are.
        own_runtime: what computes a model that lies in a file for another runtime than PyTorch;
            None where the model has weights of its own.
    """

    name: str
    class_names: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = {}  # never written to
    loss: Loss = "softmax"
    own_runtime: str | None = None
    _preprocessing: Preprocessing | None = None

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What `create_model(self.name, **self.options)` needs to build this model again."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of logits."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Width of the pooled representation."""

    @property
    def in_channels(self) -> int:
        """Colour channels of the input."""
        return 3

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes this model's input; whoever loads the weights may set it.

        Raises ValueError where it is set for another image size than the model's.
        """
        return self._preprocessing or Preprocessing(image_size=self.image_size)

    @preprocessing.setter
    def preprocessing(self, value: Preprocessing) -> None:
        if value.image_size != self.image_size:
            raise ValueError(f"preprocessing for {value.image_size}, model for {self.image_size}")
        self._preprocessing = value

    @property
    def patch_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the patches that the input is cut into; None where it is not cut."""
        return None

    @property
    def block_names(self) -> tuple[str, ...]:
        """The modules, in order, that the representation runs through: blocks, or stages of blocks.

        `capture` knows them by these names. Empty where a network's structure is unknown.
        """
        return ()

    @abstractmethod
    def layer_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups, in order from input to logits.

        The first group is the stem, the last the head (empty where there is none); between them
        each block is a group. The final norm belongs to the last block.

        Raises UsageError where a network's structure is unknown.
        """

    def check_layers(self) -> None:
        """Raise UsageError where the layers and weights cannot be reached: in an exported file."""

    def token_mlps(self) -> list[TokenMlp]:
        """Return the parameters of each block's MLP across tokens; empty where there are none."""
        return []

    def residual_ends(self) -> list[nn.Linear]:
        """Return the layer that ends each residual branch, of networks of linear layers alone."""
        return []

    def for_kernels(self) -> tuple[MixerShape, list[Tensor]] | None:
        """Return shape and weights for the native kernels; None where they cannot compute it."""
        return None

    @property
    def network(self) -> "ImageModel":
        """The network itself, behind whatever happens to its input first."""
        return self

    @property
    def unoptimized(self) -> "ImageModel":
        """This model as PyTorch computes it: the one that an optimized one was made from."""
        return self

    def seen(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W), of any type, as the network's first layer gets them."""
        return images

    def resized(self, image_size: int | tuple[int, ...], **how: Any) -> "ImageModel":
        """Return a model for another image size with the weights of this one, which stays as it is.

        Args:
            image_size: side, or height and width, in pixels.
            how: what a family lets a caller choose; see `mlpmixer.resize`.

        Raises:
            UsageError: this model's weights fit one image size alone, or the new size does not fit.
        """
        raise UsageError(f"{self.name} cannot be resized: leave --image-size out.")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Map logits (B, K) to float32 probabilities in [0, 1], by the loss of the training.

        Under softmax the classes exclude each other and a row sums to 1; under sigmoid each class
        has a probability of its own.
        """
        logits = logits.float()
        return logits.sigmoid() if self.loss == "sigmoid" else logits.softmax(dim=1)

    @abstractmethod
    def forward_features(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the last layer's values, before pooling."""

    @abstractmethod
    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the last layer's values and, unless `pre_logits`, map them to logits."""

    def head_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """Return the layers whose output is the logits: none without a head.

        Distilled networks of timm have two.
        """
        if not self.num_classes:
            return []
        layers = [one for one in self.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
        return layers[-1:]

    @abstractmethod
    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh head in place; 0 classes leave it out.

        The names and facts of the old one go with it.
        """

    def forget_classes(self) -> None:
        """Drop what was known of a head that is replaced: names, and facts such as its accuracy."""
        self.class_names, self.facts = None, {}

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less memory for the backward pass and compute more."""

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor | None, list[Tensor]]:
        """Return what chosen blocks (of a convolutional network: stages) put out, as timm does.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            indices: the blocks; an integer n means the last n, None all of them.
            norm: apply the final normalisation to each of them, where there is one.
            stop_early: leave out what is behind the last chosen one.
            output_fmt: maps (B, C, h, w) or tokens (B, S, C).
            intermediates_only: return the list alone, not (final features, list).
        """
        wanted = Intermediates(indices, norm, stop_early, final=not intermediates_only)
        final, picked = self._intermediates(images, wanted)
        if output_fmt == "NLC":
            picked = [one.flatten(2).mT for one in picked]  # (B, S, C)
        return picked if intermediates_only else (final, picked)

    @abstractmethod
    def _intermediates(
        self, images: Tensor, wanted: Intermediates
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return the final features, if they are wanted, and the chosen outputs (B, C, h, w)."""

    def as_tokens(self, values: Tensor) -> Tensor:
        """Return what a block put out, a map (B, C, h, w) or tokens (B, S, C), as tokens."""
        return values.flatten(2).mT if values.ndim == 4 else values

    def logits_after(self, values: Tensor) -> Tensor | None:
        """Return the logits (B, K) that the head gives what a block put out, normalised first.

        None where the head does not fit there.
        """
        return None

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

    def taking_over(self, other: "ImageModel") -> Self:
        """Return this model with what belongs to another's weights: names, facts, loss, crop."""
        self.class_names, self.facts, self.loss = other.class_names, other.facts, other.loss
        self.preprocessing = replace(other.preprocessing, image_size=self.image_size)
        return self.train(other.training)

    def training_like(self, other: "ImageModel") -> Self:
        """Return this model with the parameters frozen that are so, by their names, in another."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(other.get_parameter(name).requires_grad)
        return self

    def save(
        self, path: str | Path, class_names: Sequence[str] | None = None, **facts: Any
    ) -> None:
        """Write the model to a safetensors file that `mlpmixer.load` reads, whole or not at all.

        Args:
            path: the file.
            class_names: the name of each logit; None keeps `self.class_names`.
            facts: anything else worth knowing, as JSON values; none keep `self.facts`.

        Raises:
            UsageError: the names are not one for each logit.
            MixerError: the file cannot be written.
        """
        mlpmixer.save(self, path, class_names, **facts)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder as the Hugging Face hub holds it: weights, configuration, a short card."""
        mlpmixer.save_pretrained(self, folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload that folder to the Hugging Face hub, and return the address of the commit.

        `mlpmixer.push_to_hub` does so with a card made from the run that trained the model.

        Args:
            repo_id: "user/name".
            options: of `huggingface_hub.ModelHubMixin.push_to_hub`: private, token, branch,
                commit_message, create_pr.

        Raises:
            UsageError: the name is of the wrong form.
            MixerError: nobody is logged in, the account lacks the right, or the network fails.
        """
        return mlpmixer.push_to_hub(self, repo_id, **options)
