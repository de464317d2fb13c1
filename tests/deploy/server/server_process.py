"""`mixer serve` as a process of its own."""

import os
import subprocess
import sys
import tempfile


class Server:
    """`mixer serve` as a process of its own; its log goes to a file, for a full pipe would stop it.

    Args:
        arguments: of `mixer serve`, without the port.
        environment: variables beside those of this process.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "mlpmixer", "serve", *arguments, "--port", "0"]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the server
        self._said: str | None = None
        self.process = subprocess.Popen(
            [*command, "--device", "cpu"],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert "http://" in said, self.ended()
        self.address = said.split(" at ")[1].partition("/v1/")[0]

    def ended(self) -> str:
        """Wait until the process has ended, and return its log."""
        if self._said is None:
            self.process.communicate(timeout=30)
            with self._log:
                self._log.seek(0)
                self._said = self._log.read()
        return self._said
