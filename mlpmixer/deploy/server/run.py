"""A server from its first port to its last answer."""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType

import uvicorn

from mlpmixer.deploy.server.app import make_app, refresh
from mlpmixer.deploy.server.connection import bounded_connection
from mlpmixer.deploy.server.limits import Limits
from mlpmixer.deploy.server.served_model import ServedModel
from mlpmixer.deploy.server.server_metrics import ServerMetrics
from mlpmixer.errors import MixerError, UsageError


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 takes a free one.

    Raises:
        UsageError: the port is in use or not allowed, or the host is none of this machine's.
    """
    try:
        return _bound(host, port)
    except OSError as error:
        raise _unusable((host, port), error) from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, or asyncio would not turn Nagle's algorithm off: 40 ms a request.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _unusable(address: tuple[str, int], error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    host, port = address
    return UsageError(
        f"cannot listen on {host}, port {port}: {reason}. Choose another --port or --host."
    )


def _listen(bound: socket.socket) -> None:
    """Take connections from now on.

    Not before the models are loaded: clients would wait where another server could answer them.

    Raises:
        UsageError: another process came first, which bound the port before it listened too.
    """
    try:
        bound.listen()
    except OSError as error:
        raise _unusable(bound.getsockname()[:2], error) from error


def serve(
    models: Mapping[str, ServedModel],
    limits: Limits,
    measures: ServerMetrics,
    bound: socket.socket,
    api_key: str | None,
    on_ready: Callable[[], None],
) -> None:
    """Answer until SIGTERM or Ctrl-C, then finish what was taken on. SIGHUP loads models anew.

    Args:
        models: by the names that clients call them by.
        limits: what is taken on.
        measures: what the models report to.
        bound: where to listen.
        api_key: what clients have to send; None asks for nothing.
        on_ready: called when requests are answered.

    Raises:
        UsageError: another process listens there meanwhile.
        MixerError: the server could not be started.
    """
    _listen(bound)
    config = uvicorn.Config(
        make_app(models, limits, measures, api_key),
        log_config=None,
        access_log=False,
        server_header=False,
        http=bounded_connection(limits.seconds),
        timeout_graceful_shutdown=int(limits.seconds) + 1,  # by then each has its answer
    )
    server = _Server(config, on_ready)
    _allow_many_connections()

    def reload(signal_number: int, frame: FrameType | None) -> None:
        for model in models.values():
            threading.Thread(target=refresh, args=(model, True), daemon=True).start()

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, reload)
    server.run(sockets=[bound])
    if not server.started:
        raise MixerError("the server could not be started: its log says why.")


def _allow_many_connections() -> None:
    """Let this process hold as many connections as the system allows: refusing takes one too."""
    if sys.platform != "win32":
        import resource  # not on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()
