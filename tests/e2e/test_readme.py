"""The commands of the README, taken from it and run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.e2e.live import Live

README = (Path(__file__).parents[2] / "README.md").read_text()


def commands_of_the_readme() -> str:
    (section,) = re.findall(r"<!-- tested:.*?-->(.*?)<!-- end tested -->", README, flags=re.DOTALL)
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL))


def test_the_readme_opens_with_the_two_commands() -> None:
    assert re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)[0] == "make demo\nmake test\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_readme_prune_a_network(tmp_path: Path, digits: Path, service: Live) -> None:
    output = tmp_path / "demo-output"
    shutil.copytree(digits, output)
    ran = subprocess.run(
        ["bash", "-eu", "-c", commands_of_the_readme()],
        cwd=tmp_path,
        env={**os.environ, "API": service.api},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"status": "succeeded"' in ran.stdout, ran.stdout
    model = onnxruntime.InferenceSession(output / "digits-pruned.onnx")
    (logits,) = model.run(None, {model.get_inputs()[0].name: np.zeros((3, 1, 8, 8), np.float32)})
    assert logits.shape == (3, 10)
    assert "<html" in (output / "report.html").read_text().lower()
