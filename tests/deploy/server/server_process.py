"""`mixer serve` as a process of its own."""

import os
import subprocess
import sys


class Server:
    """`mixer serve` as a process of its own."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "mlpmixer", "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--device", "cpu"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert "http://" in said, self.process.communicate()
        self.address = said.split(" at ")[1].partition("/v1/")[0]
