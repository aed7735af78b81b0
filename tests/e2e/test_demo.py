"""`make demo`, as a stranger runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_ends_with_a_verdict_and_checked_artifacts(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "digits" / "demo.py", "--output", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "verdict: " in ran.stdout
    assert (tmp_path / "artifacts" / "model.onnx").stat().st_size > 0
    assert (tmp_path / "artifacts" / "report.html").stat().st_size > 0
