import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging, structlog
from service.logs import configure_logs
from service.settings import LogSettings
configure_logs(LogSettings(format={format!r}, level="info"))
structlog.contextvars.bind_contextvars(request_id="req_1")
log = structlog.get_logger("secateur.test")
log.debug("hidden")
log.info("shown", job="job_1")
logging.getLogger("some.library").warning("from %s", "elsewhere")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def lines(format_: str) -> list[str]:
    """What a process logs. A process of its own, since logging is global."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(format=format_)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_logs_are_one_object_per_line_with_the_request_they_belong_to() -> None:
    shown, library, failed = (json.loads(line) for line in lines("json"))
    assert (shown["event"], shown["job"], shown["level"], shown["logger"]) == (
        "shown",
        "job_1",
        "info",
        "secateur.test",
    )
    assert library["event"] == "from elsewhere"
    assert failed["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert {entry["request_id"] for entry in (shown, library, failed)} == {"req_1"}


def test_text_logs_say_the_same_to_people() -> None:
    text = "\n".join(lines("text"))
    for word in ("shown", "job_1", "req_1", "from elsewhere", "ZeroDivisionError"):
        assert word in text
