import pytest
from pydantic import ValidationError

from service.contract.resources import JobRequest

ASKED = {"model": "mdl_" + "0" * 26, "recipe": {"target": {"macs": 0.5}}}


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[2J", "a\r\nb", ""])
def test_a_job_cannot_be_named_what_no_database_or_terminal_takes(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        JobRequest.model_validate({**ASKED, "name": name})


def test_a_job_may_be_named_in_any_script() -> None:
    assert JobRequest.model_validate({**ASKED, "name": "Prüfung 試験 🌱"}).name == "Prüfung 試験 🌱"
