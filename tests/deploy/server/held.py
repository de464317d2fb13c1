"""A predictor that can be held, for the tests of a busy server."""

import threading

from torch import Tensor

from mlpmixer.deploy.predictor import Picture, Predictor


class Held(Predictor):
    """A predictor that answers when it is let go; where it is `slow`, it also decodes only then."""

    may_go: threading.Event
    at_work: threading.Event
    slow = False
    computed = 0

    def prepare(self, picture: Picture, name: str | None = None) -> Tensor:
        if self.slow:
            assert self.may_go.wait(30)
        return super().prepare(picture, name)

    def probabilities(self, pixels: Tensor) -> Tensor:
        self.computed += len(pixels)
        self.at_work.set()
        assert self.may_go.wait(30)
        return super().probabilities(pixels)
