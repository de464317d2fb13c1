"""What is averaged over some steps, and becomes a line of metrics."""

import time

import torch

from mlpmixer.training.step import StepResult


class Window:
    """The steps since the last line of metrics; sums stay on the device until the next one."""

    def __init__(self, device: torch.device) -> None:
        self._loss, self._correct, self._gradient_norm = torch.zeros(3, device=device)
        self._steps = 0
        self._images = 0
        self._since = time.monotonic()

    def add(self, result: StepResult, images: int) -> None:
        """Count a step on that many images."""
        self._loss = self._loss + result.loss
        self._correct = self._correct + result.correct
        self._gradient_norm = self._gradient_norm + result.gradient_norm
        self._steps += 1
        self._images += images

    def leave_out(self, seconds: float) -> None:
        """Take a pause out of the time in which images were trained on."""
        self._since += seconds

    def means(self) -> dict[str, float]:
        """Return the means by the names that the training curves know; waits for the device."""
        return {
            "loss": float(self._loss) / self._steps,
            "train_accuracy": float(self._correct) / self._images,
            "gradient_norm": float(self._gradient_norm) / self._steps,
            "images_per_second": self._images / (time.monotonic() - self._since),
        }
