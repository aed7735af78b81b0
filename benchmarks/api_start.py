"""CPU time and memory of importing the API, against the bare framework it stands on. Bar: 1.5 s of CPU, 120 MB.

python benchmarks/api_start.py
"""

import statistics
import subprocess
import sys

RUNS = 5
PROBE = """
import os, resource
import {module}
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, "torch" in __import__("sys").modules)
"""


def measure(module: str) -> tuple[float, float]:
    """Median seconds of CPU and MiB of resident memory of a fresh interpreter that imports `module`."""
    samples = []
    for _ in range(RUNS):
        code = PROBE.format(module=module)
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        seconds, memory, torch = printed.split()
        if torch == "True":
            raise SystemExit(f"{module} imports torch")
        samples.append((float(seconds), float(memory)))
    return statistics.median(row[0] for row in samples), statistics.median(row[1] for row in samples)


def main() -> None:
    baseline = measure("fastapi")
    api = measure("service.app")
    print(f"{'':12}{'CPU s':>8}{'MiB':>8}")
    print(f"{'fastapi':12}{baseline[0]:8.2f}{baseline[1]:8.0f}")
    print(f"{'service.app':12}{api[0]:8.2f}{api[1]:8.0f}")
    print(f"{'ratio':12}{api[0] / baseline[0]:8.2f}{api[1] / baseline[1]:8.2f}")


if __name__ == "__main__":
    main()
