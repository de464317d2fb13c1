"""The full state of a sharded training: each rank writes its share, in the background (DCP).

A state is a folder of `last/`. It counts once COMPLETE is in it, which is written last and has the
digests of all other files; the newest two are kept. It is read by any number of ranks, and
by one process alone.
"""

import json
import shutil
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from mlpmixer.errors import EndedElsewhere, MixerError, first_line
from mlpmixer.files import write_json
from mlpmixer.ranks import ALONE, Ranks, ended_elsewhere
from mlpmixer.run.directory import SHARDED_STATES
from mlpmixer.training.state import DAMAGE, Position, SavedState, TrainingIdentity
from mlpmixer.training.step import TrainingStep

T = TypeVar("T")

_NAME, COMPLETE = SHARDED_STATES.split("*/")
FACTS = "facts.pt"
_KEPT = 2


class ShardedSaving:
    """Writes the states of a training, each while the training goes on.

    All ranks make it, and call its methods, at once.

    Args:
        folder: the run's folder for states, which all ranks see.
        step: holds the shares of weights, moments and averages.
        identity: what the states belong to.
    """

    def __init__(self, folder: Path, step: TrainingStep, identity: TrainingIdentity) -> None:
        self.folder = folder
        self.step = step
        self.ranks = step.runtime.ranks
        self.identity = identity
        # What is told while a state is written must not meet what the training tells.
        group = dist.new_group(backend="gloo")
        assert isinstance(group, ProcessGroup)  # of which every rank is part
        self._group = group
        self._worker = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def begin(self, position: Position) -> None:
        """Copy the state, and begin to write it; the one before is complete then.

        Raises:
            MixerError: a state could not be written.
        """
        self.wait()
        folder = self.ranks.from_lead(lambda: self._new_folder(position))
        with ended_elsewhere():
            written = async_save(
                _tensors(self.step), checkpoint_id=folder, process_group=self._group
            )
        assert isinstance(written, Future)
        self._writing = self._worker.submit(self._complete, folder, written)

    def wait(self) -> None:
        """Wait until the state that is being written is complete.

        Raises:
            MixerError: it could not be written.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _new_folder(self, position: Position) -> Path:
        """Return a new folder that has what the state says of itself."""
        number = 1 + max((_number(one) for one in self.folder.glob(f"{_NAME}*")), default=0)
        for begun in self.folder.glob(f"{_NAME}*"):
            if not (begun / COMPLETE).exists():
                shutil.rmtree(begun, ignore_errors=True)
        folder = self.folder / f"{_NAME}{number:06}"
        facts = self.identity.facts(self.step.recipe, position)
        try:
            folder.mkdir(parents=True)
            with (folder / FACTS).open("wb") as file:
                torch.save(facts, file)
        except (OSError, RuntimeError) as error:
            raise _unwritable(folder, error) from error
        return folder

    def _complete(self, folder: Path, written: "Future[object]") -> None:
        """Wait for all files, and say that the state is complete; runs beside the training."""
        digests: dict[str, str] = {}
        with self._together(folder):
            written.result()
            names = [file.name for file in folder.glob(f"__{self.ranks.rank}_*")]
            names += [".metadata", FACTS] if self.ranks.leads else []
            digests = {name: _digest(folder / name) for name in names}
        told = self._tell(digests)
        with self._together(folder):
            if self.ranks.leads:
                write_json(
                    folder / COMPLETE, {name: one for files in told for name, one in files.items()}
                )
                for old in complete_states(self.folder)[_KEPT:]:
                    shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def _together(self, folder: Path) -> Iterator[None]:
        """Let what one rank cannot write be an error of all, which the leading one tells."""
        failure, cause = "", None
        try:
            yield
        except (CheckpointException, MixerError, OSError, RuntimeError) as error:
            failure, cause = _reason(error), error
        failures = [one for one in self._tell(failure) if one]
        if failures and self.ranks.leads:
            raise MixerError(f"cannot write {folder}: {failures[0]}.") from cause
        if failures:
            raise EndedElsewhere() from cause

    def _tell(self, value: T) -> list[T]:
        told: list[Any] = [None] * self.ranks.world
        with ended_elsewhere():
            dist.all_gather_object(told, value, group=self._group)
        return told


def complete_states(folder: Path) -> list[Path]:
    """Return the complete sharded states in a run's folder for states, the newest first."""
    return sorted((file.parent for file in folder.glob(SHARDED_STATES)), reverse=True)


class ShardedState(SavedState):
    """A sharded state that was found whole; `restore` puts it in place, on any number of ranks."""

    @classmethod
    def read_newest(cls, folder: Path, ranks: Ranks = ALONE) -> Self:
        """Return the newest state in a run's folder for states, or the one before if it is damaged.

        All ranks ask for it at once.

        Raises:
            MixerError: all that are there are damaged.
        """
        damage: list[MixerError] = []
        for path in ranks.from_lead(lambda: complete_states(folder)):
            try:
                content = _checked(path, ranks)
            except MixerError as error:
                damage.append(error)
            else:
                return cls(path, content, str(damage[0]) if damage else "")
        raise damage[0]

    def restore(self, step: TrainingStep) -> Position:
        """Put weights, optimizers and averages in place, and return how far the training is.

        Raises:
            MixerError: the state is damaged.
        """
        reader = FileSystemReader(self.path)
        names = reader.read_metadata().state_dict_metadata
        tensors = _tensors(step)
        moved = any(name.startswith("optimizers.") for name in names)
        groups: Any = []
        if moved:
            optimizers = get_optimizer_state_dict(step.model, step.optimizers.all)
            groups = optimizers.pop("param_groups")  # the recipe's, which may have changed
            tensors["optimizers"] = _there(optimizers, names)
        else:
            tensors.pop("optimizers", None)
        tensors.pop("sharpness", None)  # that of now; the state may be older than its first look
        if step.sharpness is not None and "sharpness.0" in names:
            tensors["sharpness"] = _numbered(
                [torch.zeros_like(one) for one in step.sharpness.parameters]
            )
        alone = not dist.is_initialized()
        try:
            with warnings.catch_warnings():  # it warns that it is alone
                warnings.filterwarnings("ignore", "torch.distributed is disabled")
                load(tensors, storage_reader=reader, no_dist=alone)
        except (CheckpointException, *DAMAGE) as error:
            raise _damaged(self.path, error) from error
        step.model.load_state_dict(tensors["model"])
        if moved:
            state = {**tensors["optimizers"], "param_groups": groups}
            with step.optimizers.own_hyperparameters():
                set_optimizer_state_dict(step.model, step.optimizers.all, optim_state_dict=state)
        else:
            for optimizer in step.optimizers.all:
                optimizer.state.clear()
        if step.sharpness is not None:
            step.sharpness.load_state_dict(list(tensors.get("sharpness", {}).values()))
        if step.average is not None:
            step.average.load_state_dict(tensors["average"])
        return Position(**self._content["position"])


def _tensors(step: TrainingStep) -> dict[str, Any]:
    """Return everything that a resumed training needs and that lies in shares."""
    tensors: dict[str, Any] = {"model": step.model.state_dict()}
    if all(one.state for one in step.optimizers.all):  # else asking would make a step, and count it
        tensors["optimizers"] = get_optimizer_state_dict(step.model, step.optimizers.all)
    if step.sharpness is not None:
        tensors["sharpness"] = _numbered(step.sharpness.state_dict())
    if step.average is not None:
        tensors["average"] = step.average.state_dict()
    return tensors


def _there(optimizers: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """Return what a stored state has of optimizers' states; what an option added since begins new.

    Args:
        optimizers: "state", of each parameter by its name.
        names: of all tensors that are stored.
    """
    return {
        "state": {
            parameter: {
                name: value
                for name, value in values.items()
                if f"optimizers.state.{parameter}.{name}" in names
            }
            for parameter, values in optimizers["state"].items()
        }
    }


def _numbered(tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {str(number): one for number, one in enumerate(tensors)}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, lambda: blake2b(digest_size=16)).hexdigest()


def _checked(path: Path, ranks: Ranks) -> Mapping[str, Any]:
    """Check the files of the state at `path`, and return what it says of itself."""
    facts: Mapping[str, Any] = {}
    with ranks.together():
        try:
            digests: Mapping[str, str] = json.loads((path / COMPLETE).read_text())
            for name in sorted(digests)[ranks.own]:
                if _digest(path / name) != digests[name]:
                    raise ValueError(f"{name} is not what was written")
            facts = torch.load(path / FACTS, weights_only=True)
        except DAMAGE as error:
            raise _damaged(path, error) from error
    return facts


def _number(path: Path) -> int:
    return int(path.name.removeprefix(_NAME))


def _unwritable(path: Path, error: BaseException) -> MixerError:
    return MixerError(f"cannot write {path}: {_reason(error)}.")


def _damaged(path: Path, error: BaseException) -> MixerError:
    return MixerError(f"{path} is damaged: {_reason(error)}. Remove it, to go on from another.")


def _reason(error: BaseException) -> str:
    """Return the first words that say what happened; of several ranks', the first one's."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{Path(error.filename).name}: "
        return f"{name}{error.strerror}"
    return first_line(error)
