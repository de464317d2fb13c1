"""What every model offers, whatever its family."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import mlpmixer  # what `save` and the like need lies above the models: they go through the front
from mlpmixer.models.preprocessing import Preprocessing


class ImageModel(nn.Module):
    """An image classifier under timm's conventions. Images are (B, 3, H, W) in [-1, 1].

    Attributes:
        name: what `create_model` knows it by.
        class_names: the name of each logit, where the model was loaded with them.
        facts: what was saved beside the weights.
        loss: what the weights were trained with; it decides what `probabilities` are.
    """

    name: str
    class_names: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = {}  # never written to
    loss: Literal["softmax", "sigmoid"] = "softmax"

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
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes this model's input."""
        return Preprocessing(image_size=self.image_size)

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

    @abstractmethod
    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh head in place; 0 classes leave it out."""

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less memory for the backward pass and compute more."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

    def save(
        self, path: str | Path, class_names: Sequence[str] | None = None, **facts: Any
    ) -> None:
        """Write the model to a safetensors file that `mlpmixer.load` reads, whole or not at all.

        Args:
            path: the file.
            class_names: the name of each logit; None keeps `self.class_names`.
            facts: anything else worth knowing, as JSON values; none keep `self.facts`.

        Raises:
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
