"""The API process."""

import signal
import socket
import sys

import uvicorn

from service.app import create_app
from service.logs import configure_logs
from service.settings import Settings

__all__ = ["serve"]

# Event streams and long polls would otherwise keep a stopping server for minutes; clients reconnect.
_GOODBYE_SECONDS = 3


def serve(settings: Settings, listener: socket.socket | None = None) -> None:
    """Serve until told to stop, on a socket that is listening already or on the host and port of the settings."""
    configure_logs(settings.log)
    # uvicorn sends the signal that stopped it once more, to whoever listened before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.api.host,
        port=settings.api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener] if listener else None)
