"""`mixer serve`: answer over HTTP what is in pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mlpmixer.cli.options import parse
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.errors import UsageError
from mlpmixer.formatting import printable
from mlpmixer.values import Jobs, Port

if TYPE_CHECKING:
    from mlpmixer.deploy.predictor import Predictor
    from mlpmixer.deploy.server.served_model import ServedModel
    from mlpmixer.deploy.server.server_metrics import ServerMetrics
    from mlpmixer.run.console import Console

KEY_VARIABLE = "MIXER_API_KEY"
_EXTRA = 'pip install "mlpmixer[serve]"'


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    """Answer over HTTP what is in pictures: POST them to /v1/models/NAME/predict.

    Several pictures that arrive at about the same time are computed together. The address itself,
    http://127.0.0.1:8000, is a page for people. A model whose file changes is replaced without a
    lost request; SIGHUP replaces all. SIGTERM and Ctrl-C finish what was taken on. Where the
    environment variable MIXER_API_KEY is set, clients have to send it.

    Examples:
      mixer serve runs/digits
      mixer serve flowers=runs/flowers birds=birds.safetensors --port 9000 --precision bfloat16
      curl --data-binary @rose.jpg 'http://127.0.0.1:8000/v1/models/flowers/predict?k=3'
    """

    models: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="[NAME=]MODEL...", help_behavior_hint="(one or more)"),
    ]
    """Run directories, model files, or hf-hub:user/name; by default called after their path."""
    host: str = "127.0.0.1"
    """Address to listen on; the default takes requests of this machine alone."""
    port: Port = 8000
    """Port to listen on; 0 takes a free one."""
    api_key_file: Path | None = None
    """A file with the key that clients have to send, in place of MIXER_API_KEY."""
    class_names: Path | None = None
    """A file with the names of the classes, one a line or a JSON list, for a single model."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Type of the matrix products' operands."""
    decoders: Jobs | None = None
    """Threads that decode pictures; by default as many as there are cores."""
    limits: Limits = field(default_factory=Limits)


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(ServeCommand, "serve", arguments)
    if not command.models:
        raise UsageError("name a model to serve, as in `mixer serve runs/digits`.")
    names = _names(command.models)
    if command.class_names is not None and len(names) > 1:
        raise UsageError(f"--class-names is for a single model, and {len(names)} are given.")
    key = _key(command.api_key_file)
    try:
        from mlpmixer.deploy.server.run import listening, serve
        from mlpmixer.deploy.server.server_metrics import ServerMetrics
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is missing, which `mixer serve` needs: {_EXTRA}."
        ) from error
    from mlpmixer.deploy.server.json_log import log_as_json
    from mlpmixer.run.console import Console

    console = Console.choose(json=False)
    measures = ServerMetrics()
    with listening(command.host, command.port) as bound:
        models = _loaded(command, names, measures, console)
        log_as_json()

        def ready() -> None:
            host, port = bound.getsockname()[:2]
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            for name in models:
                console.message(f"serving {name} at {address}/v1/models/{name}/predict")
            console.message(f"page: {address}/")

        serve(models, command.limits, measures, bound, key, ready)
    return 0


def _loaded(
    command: ServeCommand, names: dict[str, str], measures: "ServerMetrics", console: "Console"
) -> "dict[str, ServedModel]":
    from concurrent.futures import ThreadPoolExecutor

    from mlpmixer.deploy.predictor import Predictor
    from mlpmixer.deploy.server.served_model import ServedModel

    decoders = ThreadPoolExecutor(command.decoders or os.cpu_count(), thread_name_prefix="decoding")

    def load(source: str) -> "Predictor":
        return Predictor.load(
            source,
            class_names=command.class_names,
            device=command.device,
            precision=command.precision,
        )

    models = {}
    for name, source in names.items():
        models[name] = ServedModel(name, source, load, command.limits, decoders, measures)
        if models[name].predictor.model.class_names is None:
            console.warning(
                f"{source} does not name its classes: their numbers are given. "
                "Name them by --class-names FILE."
            )
    return models


def _names(models: Sequence[str]) -> dict[str, str]:
    """Return where each model is, by the name that clients call it by."""
    found: dict[str, str] = {}
    for one in models:
        given, separator, source = one.partition("=")
        if not separator or Path(one).exists():
            given, source = _name_of(one), one
        if not given or not all(letter.isalnum() or letter in "-_." for letter in given):
            raise UsageError(
                f"{printable(given)!r} cannot stand in an address: name the model with letters, "
                f"digits, - and _, as in flowers={printable(source)}."
            )
        if given in found:
            raise UsageError(
                f"two models are called {given}: name them, as in one={found[given]} two={source}."
            )
        found[given] = source
    return found


def _name_of(source: str) -> str:
    """Return what a model is called by its path: a file's stem, a folder's name."""
    path = Path(source.rstrip("/").rpartition("#")[0] or source)
    name = path.resolve().name if path.name in ("", ".", "..") else path.name
    return Path(name).stem if path.suffix in _SUFFIXES else name.rpartition(":")[2]


_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".ckpt", ".onnx", ".xml", ".pt2")


def _key(file: Path | None) -> str | None:
    """Return the key that clients have to send; None asks for nothing.

    Raises:
        UsageError: the file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the API key in {file}: {error}.") from error
    if not key:
        raise UsageError(f"{file} is empty: put the API key into it.")
    return key
