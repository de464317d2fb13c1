"""The libraries of the extra `export`, imported when they are needed."""

import importlib
import sys
from typing import Any

from mlpmixer.errors import UsageError

INSTALL = 'pip install "mlpmixer[export]"'


def library(name: str, purpose: str) -> Any:
    """Import a library of the extra.

    OpenVINO's libraries count their uses for Intel wherever `openvino_telemetry` can be imported,
    without asking first: it is hidden from them, and nothing is counted or sent.

    Args:
        name: of the module.
        purpose: what it is needed for, to begin a sentence with.

    Raises:
        UsageError: it is not installed; the message says how to install it.
    """
    if name.partition(".")[0] in ("openvino", "nncf"):
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == name.partition(".")[0]:
            raise UsageError(f"{purpose} needs {name}, not installed here: {INSTALL}") from error
        raise
