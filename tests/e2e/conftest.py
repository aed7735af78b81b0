"""Worker processes that can be killed, on a real broker."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.lifeline import LIFELINE
from service.queue import Doorbell
from service.reconcile import Reconciler
from service.valkey import Valkey
from tests.e2e.live import Live, live
from tests.rig import Rig

ROOT = Path(__file__).parents[2]


class Yard:
    """A rig with a broker, a reconciler, and workers on demand. Leases last two seconds."""

    def __init__(self, data_dir: Path) -> None:
        self.rig = Rig(data_dir, lease_seconds=2)
        self.valkey = Valkey(self.rig.settings)
        self.doorbell = Doorbell(self.rig.settings)
        self._workers: list[subprocess.Popen[bytes]] = []
        self._stop = threading.Event()
        self._reconciler = Reconciler(self.rig.settings, self.rig.database, self.doorbell)
        self._reconciling = threading.Thread(target=self._reconciler.run, args=[self._stop])

    def open(self) -> None:
        self.valkey.start()
        self._reconciling.start()

    def worker(self, queue: str = "jobs") -> subprocess.Popen[bytes]:
        """Start a worker process; its children do what `tests.rig_work` says."""
        environment = os.environ | {
            LIFELINE: "1",
            "SECATEUR_DATA_DIR": str(self.rig.settings.data_dir),
            "SECATEUR_JOBS__LEASE_SECONDS": "2",
            "SECATEUR_JOBS__THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.rig_worker", queue], stdin=subprocess.PIPE, env=environment
        )  # fmt: skip
        self._workers.append(worker)
        return worker

    def sweep(self) -> None:
        """What the reconciler does once a minute."""
        self._reconciler.sweep()

    def close(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait()
            assert worker.stdin is not None
            worker.stdin.close()
        self._stop.set()
        self._reconciling.join()
        self.valkey.stop()
        self.rig.close()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yard.open()
    yield yard
    yard.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `digits.pt2` and `digits.npz`, made as the demo makes them."""
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run([sys.executable, ROOT / "examples" / "digits" / "make_model.py", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One service for all tests that do not break it."""
    with live(tmp_path_factory.mktemp("service") / "data") as running:
        yield running
