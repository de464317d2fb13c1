"""Train WHOLE undisturbed; kill the same training of RUN again and again: WHOLE RUN KILLS OPTION…

A process of its own, for the sake of its forked children: they need not import anything again, and
PyTorch's backward pass does not run in the child of a process that had threads for it, as one that
runs other tests may have had. OMP_NUM_THREADS has to be 1: OpenMP's threads do not outlive a fork.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from mlpmixer.cli.main import main
from mlpmixer.run.directory import STATE_FILE
from mlpmixer.training import loop


def start(run: Path, command: list[str]) -> int:
    """Start a child that trains, with a state after every step; returns its process."""
    arguments = ["train", "--resume", str(run)] if run.exists() else [*command, "--out", str(run)]
    child = os.fork()
    if child == 0:
        code = 70
        try:
            loop.SAVE_EVERY = 0.0
            code = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def written(file: Path) -> tuple[int, int]:
    """Return what changes whenever the file is written anew."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def kill(run: Path, kills: int, command: list[str]) -> int:
    """Return the exit status of the child that was let be."""
    state, chance = run / "last" / STATE_FILE, random.Random(0)
    for number in range(kills):
        before, child = written(state), start(run, command)
        while written(state) == before:
            if os.waitpid(child, os.WNOHANG)[0]:
                sys.exit(f"the training ended by itself before kill {number + 1}")
            time.sleep(0.002)
        time.sleep(chance.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            sys.exit(f"the training ended with {status} before kill {number + 1}")
    return os.waitstatus_to_exitcode(os.waitpid(start(run, command), 0)[1])


if __name__ == "__main__":
    whole, run, kills, *command = sys.argv[1:]
    sys.exit(main([*command, "--out", whole]) or kill(Path(run), int(kills), command))
