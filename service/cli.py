"""The command `secateur`. Imports what a command needs when it runs, so that `--help` is quick."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from service import __version__
from service.startup import CannotStart, require_worker

if TYPE_CHECKING:
    from service.settings import Settings

__all__ = ["main"]

EPILOG = """\
Settings come from the environment (SECATEUR_…, REDIS_URL, DATABASE_URL): see docs/settings.md. Options win over them.

Exit codes: 0 after an orderly stop or success; 1 when it failed or could not start, with the reason on standard error;
2 for a wrong command line.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    _to_environment(options)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CannotStart as error:
        print(f"secateur: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="secateur",
        description="Prune neural networks over HTTP, with proof of what the pruning cost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "run everything until Ctrl-C")
    api = command("api", _api, "run the API alone")
    worker = command("worker", _worker, "run a worker alone")
    reconcile = command("reconcile", _reconcile, "run the reconciler alone")
    migrate = command("migrate", _migrate, "bring the database up to date")
    openapi = command("openapi", _openapi, "print the description of the API as YAML")
    command("version", _version, "print the version")

    for with_data in (up, api, worker, reconcile, migrate):
        with_data.add_argument(
            "--data-dir", metavar="DIR", help="folder of the database, uploads and artifacts (default: secateur-data)"
        )
    for listening in (up, api):
        listening.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
        listening.add_argument("--port", type=int, help="port to listen on; 0 takes a free one (default: 8000)")
    up.add_argument("--workers", type=_positive, default=1, help="worker processes for jobs (default: 1)")
    api.add_argument("--fd", type=int, help=argparse.SUPPRESS)  # the socket that `up` listens on
    worker.add_argument("--queue", choices=["jobs", "inspections"], help="work on this queue alone (default: on both)")
    openapi.add_argument("--output", type=Path, metavar="FILE", help="write to FILE instead of standard output")
    openapi.add_argument("--check", type=Path, metavar="FILE", help="write nothing; exit with 1 when FILE differs")
    return parser


def _up(options: argparse.Namespace) -> int:
    from service.supervisor import up

    settings = _settings()
    if not settings.jobs.threads and options.workers > 1:
        # Every worker process would take all cores for itself.
        os.environ["SECATEUR_JOBS__THREADS"] = str(_share_of_cores(options.workers * settings.jobs.concurrency))
    up(settings, options.workers)
    return 0


def _api(options: argparse.Namespace) -> int:
    import socket

    from service.lifeline import watch_lifeline
    from service.server import serve

    watch_lifeline()
    serve(_settings(), socket.socket(fileno=options.fd) if options.fd is not None else None)
    return 0


def _worker(options: argparse.Namespace) -> int:
    require_worker()
    _settings()
    # Another program, not an import: this one is installed without what a worker needs.
    queue = ["--queue", options.queue] if options.queue else []
    return os.execv(sys.executable, [sys.executable, "-m", "worker", *queue])  # noqa: S606, our own module


def _reconcile(options: argparse.Namespace) -> int:
    del options
    from service.lifeline import watch_lifeline
    from service.logs import configure_logs
    from service.queue import Doorbell
    from service.reconcile import Reconciler
    from service.store.database import Database

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch_lifeline()
    settings = _settings()
    configure_logs(settings.log)
    Reconciler(settings, Database(settings.sqlalchemy_url), Doorbell(settings)).run(stop)
    return 0


def _migrate(options: argparse.Namespace) -> int:
    del options
    from service.store.migrate import migrate

    migrate(_settings())
    return 0


def _openapi(options: argparse.Namespace) -> int:
    from service.app import create_app
    from service.openapi import openapi_yaml

    text = openapi_yaml(create_app(_settings()))
    if options.check:
        if not options.check.is_file() or options.check.read_text() != text:
            raise CannotStart(f"{options.check} is out of date: run `secateur openapi --output {options.check}`")
    elif options.output:
        options.output.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


def _version(options: argparse.Namespace) -> int:
    del options
    print(__version__)  # noqa: T201
    return 0


def _to_environment(options: argparse.Namespace) -> None:
    """Options are settings: the children of `up` and the program that `worker` becomes read them there."""
    for option, variable in (
        ("data_dir", "SECATEUR_DATA_DIR"),
        ("host", "SECATEUR_API__HOST"),
        ("port", "SECATEUR_API__PORT"),
    ):
        if (value := getattr(options, option, None)) is not None:
            os.environ[variable] = str(Path(value).absolute() if option == "data_dir" else value)


def _share_of_cores(processes: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _settings() -> "Settings":
    """The settings; a wrong one is named as the variable that the operator has to correct."""
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"{_variable(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False)]
        raise CannotStart("; ".join(wrong)) from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = "__".join(str(part) for part in location).upper()
    return name if name.startswith(("SECATEUR_", "DATABASE_URL", "REDIS_URL")) else f"SECATEUR_{name}"


if __name__ == "__main__":
    sys.exit(main())
