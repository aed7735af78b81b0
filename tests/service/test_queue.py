"""The doorbell, at a real broker that is up, down, or hangs."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.queue import Doorbell, Queue, celery_app, redis_client
from service.settings import Settings
from service.valkey import Valkey


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, redis_url=None)


@pytest.fixture
def valkey(settings: Settings) -> Iterator[Valkey]:
    valkey = Valkey(settings)
    valkey.start()
    yield valkey
    valkey.stop()


def test_a_ring_waits_in_the_queue_of_its_kind(settings: Settings, valkey: Valkey) -> None:
    doorbell = Doorbell(settings)
    assert doorbell.ping()
    assert doorbell.ring_job("job_1")
    assert doorbell.ring_job("job_2")
    assert doorbell.ring_inspection("mdl_1")
    assert (doorbell.depth(Queue.JOBS), doorbell.depth(Queue.INSPECTIONS)) == (2, 1)


def test_a_message_carries_an_id_and_nothing_else(settings: Settings, valkey: Valkey) -> None:
    Doorbell(settings).ring_job("job_1")
    message = json.loads(redis_client(settings).rpop("jobs"))
    assert message["headers"]["task"] == "secateur.run_job"
    assert message["headers"]["argsrepr"] == "['job_1']"
    assert message["headers"]["kwargsrepr"] == "{}"


def test_a_broker_that_is_down_is_no_exception(settings: Settings) -> None:
    doorbell = Doorbell(settings)
    assert not doorbell.ring_job("job_1")
    assert not doorbell.ring_inspection("mdl_1")
    assert not doorbell.ping()
    assert doorbell.depth() is None


def test_a_broker_that_hangs_is_no_exception(settings: Settings, valkey: Valkey) -> None:
    doorbell = Doorbell(settings)
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        assert not doorbell.ring_job("job_1")
        assert not doorbell.ping()
        assert doorbell.depth() is None
    finally:
        valkey.process.send_signal(signal.SIGCONT)


def test_a_doorbell_works_again_after_the_broker_was_away(settings: Settings, valkey: Valkey) -> None:
    doorbell = Doorbell(settings)
    assert doorbell.ring_job("job_1")
    valkey.stop()
    assert not doorbell.ring_job("job_2")
    valkey.start()
    assert doorbell.ring_job("job_3")
    assert doorbell.depth() == 2  # the first one was kept on disk


def test_a_broker_on_tcp_is_named_by_its_url() -> None:
    settings = Settings(redis_url="redis://user:secret@broker.example:6380/2")
    connection = redis_client(settings).connection_pool.connection_kwargs
    assert (connection["host"], connection["port"], connection["db"]) == ("broker.example", 6380, 2)


def test_celery_keeps_no_results_and_acknowledges_early(settings: Settings) -> None:
    conf = celery_app(settings).conf
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert not conf.task_acks_late
    assert conf.worker_disable_prefetch
    assert conf.worker_enable_remote_control
    assert conf.accept_content == ["json"]


def test_the_queue_knows_no_worker() -> None:
    code = "import sys, service.queue; print([name for name in ('torch', 'worker', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
