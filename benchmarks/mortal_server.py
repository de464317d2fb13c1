"""`mixer serve` whose thread of batches ends at every SIGUSR1, wherever it is just then.

    python benchmarks/mortal_server.py m=model.safetensors --port 0

For `serving.py`, which counts what a worker's death costs.
"""

import ctypes
import signal
import sys
import threading
from types import FrameType

from mlpmixer.cli import serve


def end_batches(signal_number: int, frame: FrameType | None) -> None:
    """Raise SystemExit in the threads that compute batches."""
    for thread in threading.enumerate():
        if thread.name == "batches" and thread.ident is not None:
            raised = ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), raised)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, end_batches)
    sys.exit(serve.run(sys.argv[1:]))
