"""What a run tells a service that keeps track of runs: MLflow or Weights & Biases, where installed.

Which server, project or experiment is said by their own variables (MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT, WANDB_MODE=offline, …). A service that fails stops nothing:
the run's own files hold all that it is told.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from mlpmixer.errors import MixerError, UsageError, first_line
from mlpmixer.files import write_json

TRACKER_FILE = "tracker.json"
"""In the run directory: which tracker, and by which name it knows the run."""

Ended = Literal["finished", "stopped", "failed"]


class Service(Protocol):
    """A run as a tracker knows it."""

    id: str
    """By which it is found again."""

    def describe(self, parameters: Mapping[str, str]) -> None:
        """Tell what the run was asked for."""
        ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell numbers of a step."""
        ...

    def keep(self, file: Path) -> None:
        """Keep a file with the run."""
        ...

    def end(self, ended: Ended) -> None:
        """Tell how the run has ended."""
        ...


class _MLflow:
    def __init__(self, run: Path, known: str | None) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        started = self._mlflow.start_run(run_id=known, run_name=None if known else run.name)
        self.id = str(started.info.run_id)

    def describe(self, parameters: Mapping[str, str]) -> None:
        self._mlflow.log_params(dict(parameters))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def keep(self, file: Path) -> None:
        self._mlflow.log_artifact(str(file))

    def end(self, ended: Ended) -> None:
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[ended]
        self._mlflow.end_run(status)


class _WeightsAndBiases:
    def __init__(self, run: Path, known: str | None) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            id=known, resume="allow" if known else None, name=run.name, dir=str(run)
        )
        self.id = str(self._run.id)

    def describe(self, parameters: Mapping[str, str]) -> None:
        self._run.config.update(dict(parameters))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def keep(self, file: Path) -> None:
        self._run.save(str(file), base_path=str(file.parent), policy="now")

    def end(self, ended: Ended) -> None:
        self._run.finish(exit_code=0 if ended == "finished" else 1)


_SERVICES: dict[str, Callable[[Path, str | None], Service]] = {
    "mlflow": _MLflow,
    "wandb": _WeightsAndBiases,
}


def check_tracker(name: str | None) -> None:
    """Raise UsageError where the package of a tracker is missing; None needs none."""
    if name is not None and importlib.util.find_spec(name) is None:
        raise UsageError(
            f"--tracker {name} needs the package {name}, which is not here: "
            f"`pip install 'mlpmixer[{name}]'`, or leave it out."
        )


class Tracker:
    """Tells a service of a run; after its first failure, which is told to the user, no more.

    Used in `with`, it tells the end of the run too.

    Args:
        name: "mlflow" or "wandb".
        run: the run directory, which has TRACKER_FILE where the service knows the run already.
        parameters: what the run was asked for.
        warn: takes what the user should know.

    Raises:
        MixerError: the service cannot be reached at the start.
    """

    def __init__(
        self, name: str, run: Path, parameters: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        self.name = name
        self.ended: Ended = "finished"
        """How the run ends, unless by an error."""
        self._warn = warn
        known = _known(run / TRACKER_FILE, name)
        try:
            self._service: Service | None = _SERVICES[name](run, known)
            if known is None:
                self._service.describe(parameters)
        except Exception as error:  # each service raises its own kinds
            raise MixerError(
                f"{name} takes no run ({first_line(error)}): check its settings, or leave "
                "--tracker out."
            ) from error
        write_json(run / TRACKER_FILE, {"tracker": name, "id": self._service.id})

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell numbers of a step."""
        self._tell(lambda service: service.log(values, step))

    def keep(self, file: Path) -> None:
        """Keep a file with the run."""
        self._tell(lambda service: service.keep(file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ended: Ended = self.ended if kind is None else "failed"
        self._tell(lambda service: service.end(ended))

    def _tell(self, what: Callable[[Service], None]) -> None:
        if self._service is None:
            return
        try:
            what(self._service)
        except Exception as error:  # each service raises its own kinds
            self._service = None
            self._warn(
                f"{self.name} failed ({first_line(error)}): the run goes on without it, and "
                "metrics.jsonl holds all numbers"
            )


def _known(file: Path, name: str) -> str | None:
    """Return by which name the tracker knows the run; None where it does not."""
    try:
        stored = json.loads(file.read_bytes())
        return str(stored["id"]) if stored["tracker"] == name else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise MixerError(f"{file} is damaged ({error}): remove it.") from error
