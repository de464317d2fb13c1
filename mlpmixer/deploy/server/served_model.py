"""A model that a server answers with: loaded, replaced when its file changes, never half."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from mlpmixer.data.formats import open_image
from mlpmixer.data.picture import explained
from mlpmixer.deploy.predictor import Predictor
from mlpmixer.deploy.server.batching import Batcher, Overloaded
from mlpmixer.deploy.server.description import ModelDescription, describe
from mlpmixer.deploy.server.explain import Explanation, explain
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.server_metrics import ServerMetrics
from mlpmixer.deploy.server.weight_pictures import draw_block
from mlpmixer.errors import MixerError
from mlpmixer.weights.own_format import MODEL_FILE

Load = Callable[[str], Predictor]


class TooLarge(MixerError):
    """A picture has more pixels than the server takes."""


class _Version(NamedTuple):
    """A model as it was loaded once."""

    predictor: Predictor
    batcher: Batcher
    description: ModelDescription


class ServedModel:
    """A predictor behind a queue, with threads that decode.

    Args:
        name: what clients call it.
        source: what it is loaded from, as `Predictor.load` takes it.
        load: loads it.
        limits: what it takes on.
        decoders: threads that decode, shared with other models.
        measures: takes its batches.
    """

    def __init__(
        self,
        name: str,
        source: str,
        load: Load,
        limits: Limits,
        decoders: ThreadPoolExecutor,
        measures: ServerMetrics,
    ) -> None:
        self.name = name
        self.source = source
        self._load = load
        self._limits = limits
        self._decoders = decoders
        self._observe = measures.of_batches(name)
        self._lock = threading.Lock()
        self._replacing = threading.Lock()
        self._on_their_way = 0
        measures.watch_queue(name, lambda: self._on_their_way)
        self._file = _file_version(source)
        self._current = self._made(_in_memory(load(source)))

    @property
    def predictor(self) -> Predictor:
        """The one that answers new requests."""
        return self._current.predictor

    @property
    def description(self) -> ModelDescription:
        """What it is, and how well it did when it was trained."""
        return self._current.description

    def _made(self, predictor: Predictor) -> _Version:
        # Before there is a thread, which would hold the model where this fails.
        description = describe(self.name, self.source, predictor)
        batcher = Batcher(
            predictor.probabilities,
            largest_batch=self._limits.largest_batch,
            wait_seconds=self._limits.wait_milliseconds / 1000,
            queue_size=self._limits.queue,
            observe=self._observe,
        )
        return _Version(predictor, batcher, description)

    def admit(self, pictures: int) -> None:
        """Take pictures on; `dismiss` has to follow.

        Raises:
            Overloaded: too many are on their way.
        """
        with self._lock:
            if self._on_their_way + pictures > self._limits.queue:
                raise Overloaded
            self._on_their_way += pictures

    def dismiss(self, pictures: int) -> None:
        """Make room for others."""
        with self._lock:
            self._on_their_way -= pictures

    def answer(self, content: bytes, name: str) -> "tuple[Predictor, Future[Tensor]]":
        """Return the predictor that answers, and what will hold a picture's probabilities (K,).

        Who cancels that is rid of the picture: what has not begun of its work is not done. Its
        place stays taken until the rest is over.

        Raises Overloaded, by what is returned: too many wait for the model.
        """
        version = self._current
        asked: Future[Tensor] = Future()  # never said to run, which would forbid to cancel it
        ended: Future[None] = Future()

        def decode() -> None:
            computed = self._computed(version, content, name, asked)
            asked.add_done_callback(lambda _: computed.cancel())
            computed.add_done_callback(lambda done: _pass_on(done, asked))
            computed.add_done_callback(lambda _: ended.set_result(None))

        asked.add_done_callback(lambda done: self._stay(ended) if done.cancelled() else None)
        self._decoders.submit(decode)
        return version.predictor, asked

    def _computed(
        self, version: _Version, content: bytes, name: str, asked: "Future[Tensor]"
    ) -> "Future[Tensor]":
        """Decode a picture, and return what will hold its probabilities, an error, or nothing."""
        done: Future[Tensor] = Future()
        try:
            if not asked.cancelled():
                self._check_pixels(content, name)
                pixels = version.predictor.prepare(content, name)
                if not asked.cancelled():
                    return self._submit(version.batcher, version.predictor, pixels)
            done.cancel()
        except Exception as error:  # it belongs to who asked
            done.set_exception(error)
        return done

    def _stay(self, ended: "Future[None]") -> None:
        """Let a picture that nobody waits for take its place until its work has ended."""
        with self._lock:
            self._on_their_way += 1
        ended.add_done_callback(lambda _: self.dismiss(1))

    def explain(self, content: bytes, name: str) -> Explanation:
        """Return what the answer for a picture rests on; computed in the calling thread.

        Raises UnreadableImage, or TooLarge.
        """
        self._check_pixels(content, name)
        return explain(self.predictor, content, name)

    def weights(self, block: int) -> bytes:
        """Return a picture of a block's token mixing, as PNG; drawn in the calling thread."""
        return draw_block(self.predictor, block)

    def _submit(self, batcher: Batcher, predictor: Predictor, pixels: Tensor) -> "Future[Tensor]":
        try:
            return batcher.submit(pixels)
        except Overloaded:
            if predictor is self.predictor:
                raise
            done: Future[Tensor] = Future()  # replaced meanwhile: the old one answers by itself
            done.set_result(predictor.probabilities(pixels[None])[0])
            return done

    def _check_pixels(self, content: bytes, name: str) -> None:
        most = self._limits.megapixels
        with explained(name):
            try:
                with open_image(io.BytesIO(content)) as image:
                    width, height = image.size
            except Image.DecompressionBombError as error:  # so many that Pillow names none
                raise TooLarge(f"{name} has too many pixels: at most {most:g} million.") from error
        if width * height > most * 1e6:
            raise TooLarge(
                f"{name} has {width * height / 1e6:,.0f} megapixels ({width}x{height}): "
                f"at most {most:g} are taken."
            )

    def refresh(self, force: bool = False) -> bool:
        """Replace the model if its file changed, and return whether it was.

        Requests that are on their way are answered by the old one. Where the new file cannot be
        read, the old model stays.

        Raises:
            MixerError: the new file cannot be read.
        """
        with self._replacing:  # a signal and the watch may both ask
            file = _file_version(self.source)
            if not force and (file == self._file or file is None):
                return False
            self._file = file
            fresh = self._made(_in_memory(self._load(self.source)))
            old, self._current = self._current, fresh
            old.batcher.close()
        return True

    def close(self) -> None:
        """Answer what was taken on, then end."""
        self._current.batcher.close()


def _in_memory(predictor: Predictor) -> Predictor:
    """Copy weights that are mapped from a file: one that is cut off ends whoever reads there."""
    for tensor in (*predictor.model.parameters(), *predictor.model.buffers()):
        tensor.data = tensor.data.clone()
    return predictor


def _pass_on(done: "Future[Tensor]", asked: "Future[Tensor]") -> None:
    if done.cancelled():
        return
    with suppress(InvalidStateError):  # nobody waits for it any more
        if (error := done.exception()) is not None:
            asked.set_exception(error)
        else:
            asked.set_result(done.result())


def _file_version(source: str) -> tuple[int, int, int] | None:
    """Return what changes with a model's file; None where it is none of this machine's."""
    path = Path(source.rpartition("#")[0] or source)
    path = path / MODEL_FILE if path.is_dir() else path
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
