"""The whole of Secateur in one run: train a network, upload it, prune it to half its MACs, download it with a verdict.

Everything after the training goes over HTTP; the equivalent `curl` command is printed before each request.

    python examples/digits/demo.py [--output FOLDER]
"""

import argparse
import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).parent
# The images hold 0..16 in the order height, width, channel; the network wants 0..1 in the order channel, height, width.
RECIPE = {
    "input": {"layout": "nhwc", "scale": 0.0625},
    "target": {"macs": 0.5},
    "finetune": {"epochs": 6, "batch_size": 32},
}
START_SECONDS = 90  # for the server to answer: the first import of torch from a cold disk is slow
JOB_SECONDS = 1800  # the job takes about a minute on two idle cores

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """The demo did not get what it should; the message says what and where to look."""


def step(title: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")


def show(command: str) -> None:
    console.print(f"$ {command}", style="cyan", markup=False)


@contextmanager
def server(data_dir: Path, log: Path) -> Iterator[str]:
    """Run `secateur up` on a free port and yield its address; it is stopped on the way out, whatever happened."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "secateur"), "up", "--port", str(port), "--data-dir", str(data_dir)]
    show(f"secateur up --port {port} --data-dir {data_dir}")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    api = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(api, process, log)
        yield api
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoFailed(f"the server did not stop within 30 s; its log is {log}") from None
    if code != 0:
        raise DemoFailed(f"the server ended with code {code}; its log is {log}")


def wait_until_ready(api: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until database, broker, storage and a worker answer; `/readyz` is 503 until then."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise DemoFailed(f"the server ended with code {process.returncode}:\n{tail}")
        try:
            if httpx.get(f"{api}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise DemoFailed(f"the server was not ready after {START_SECONDS} s; its log is {log}")


def answer(response: httpx.Response) -> Any:
    """The JSON of an answer. A problem becomes an error that says what the service said."""
    if response.is_error:
        raise DemoFailed(f"{response.request.method} {response.request.url}: {response.status_code} {response.text}")
    return response.json()


def upload(client: httpx.Client, kind: str, path: Path) -> dict[str, Any]:
    """Send a file and wait until a worker has read it. `kind` is `models` or `datasets`."""
    show(f'curl --data-binary @{path} -H "content-type: application/octet-stream" "$API/v1/{kind}?name={path.stem}"')
    with path.open("rb") as file:
        sent = client.post(
            f"/v1/{kind}",
            params={"name": path.stem},
            content=file,
            headers={"content-type": "application/octet-stream"},
        )
    resource = answer(sent)
    while resource["status"] == "inspecting":
        time.sleep(0.2)
        resource = answer(client.get(f"/v1/{kind}/{resource['id']}"))
    if resource["status"] != "ready":
        raise DemoFailed(f"{path} was rejected: {resource['error']['detail']}")
    return resource


def describe(model: dict[str, Any], dataset: dict[str, Any]) -> None:
    profile, data = model["profile"], dataset["profile"]
    shape = " x ".join(str(size) for size in profile["inputs"][0]["shape"])
    console.print(
        f"  {model['id']}: input {shape}, {profile['parameters']:,} parameters, {profile['macs']:,} MACs, "
        f"{len(profile['prunable']['groups'])} groups of channels that can shrink"
    )
    console.print(f"  {dataset['id']}: {data['samples']} samples of {data['classes']} classes, splits {data['splits']}")


def run_job(client: httpx.Client, model: str, dataset: str) -> dict[str, Any]:
    """Submit the job and follow it to its end on a progress bar."""
    request = {"model": model, "dataset": dataset, "recipe": RECIPE, "name": "digits to half"}
    show(f"curl --json '{json.dumps(request)}' $API/v1/jobs")
    job = answer(client.post("/v1/jobs", json=request))
    show(f"curl -H 'Prefer: wait=60' $API/v1/jobs/{job['id']}")
    deadline = time.monotonic() + JOB_SECONDS
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("queued", total=1.0, message="")
        while not job["done"]:
            if time.monotonic() > deadline:
                raise DemoFailed(f"{job['id']} was still {job['status']} after {JOB_SECONDS} s")
            time.sleep(0.25)
            job = answer(client.get(f"/v1/jobs/{job['id']}"))
            state = job["progress"]
            progress.update(
                bar, completed=state["fraction"], description=job["stage"] or job["status"], message=state["message"]
            )
    if job["status"] != "succeeded":
        reason = job["error"]["detail"] if job["error"] else "no reason given"
        raise DemoFailed(f"{job['id']} ended {job['status']}: {reason}")
    return job


def download(client: httpx.Client, job: str, folder: Path) -> list[Path]:
    """Fetch every artifact and compare its digest with the one the service states."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    show(f"curl -O $API/v1/jobs/{job}/artifacts/model.onnx")
    paths = []
    for artifact in answer(client.get(f"/v1/jobs/{job}/artifacts"))["data"]:
        body = client.get(artifact["url"])
        if body.is_error:
            raise DemoFailed(f"{artifact['url']}: {body.status_code} {body.text}")
        digest = hashlib.sha256(body.content).hexdigest()
        if digest != artifact["sha256"]:
            raise DemoFailed(f"{artifact['name']} has sha256 {digest}, the service says {artifact['sha256']}")
        path = folder / artifact["name"]
        path.write_bytes(body.content)
        paths.append(path)
    return paths


def verify_onnx(model: Path, data: Path, report: dict[str, Any]) -> float:
    """Accuracy of the downloaded file on the test images, in per cent. It must be what the report says."""
    arrays = np.load(data)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = arrays["x_test"].transpose(0, 3, 1, 2).astype(np.float32) * np.float32(RECIPE["input"]["scale"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images)})
    measured = float((logits.argmax(axis=1) == arrays["y_test"]).mean() * 100)
    stated = report["export_check"]["accuracy"]
    if abs(measured - stated) > 0.01:
        raise DemoFailed(f"model.onnx is right on {measured:.2f} % of the test images, the report says {stated:.2f} %")
    return measured


def print_result(report: dict[str, Any]) -> None:
    """Dense, twin and pruned side by side. The twin was fine-tuned like the pruned network, but not pruned."""
    benefits, arms = report["benefits"], {arm["arm"]: arm for arm in report["arms"]}
    table = Table(title="digits, pruned to half its MACs", title_justify="left")
    for heading in ("", "dense", "twin", "pruned", "pruned / dense"):
        table.add_column(heading, justify="left" if heading == "" else "right")

    def row(name: str, dense: float, pruned: float, form: str) -> None:
        table.add_row(name, form.format(dense), "", form.format(pruned), f"{pruned / dense:.2f}")

    row("MACs", benefits["macs_dense"], benefits["macs"], "{:,}")
    row("parameters", benefits["params_dense"], benefits["params"], "{:,}")
    row("model.onnx, bytes", benefits["onnx_dense"]["size_bytes"], benefits["onnx"]["size_bytes"], "{:,}")
    for latency in benefits["latency"]:
        threads = f"{latency['threads']} thread" + "s" * (latency["threads"] > 1)
        row(f"ms, batch {latency['batch']}, {threads}", latency["dense_ms"], latency["pruned_ms"], "{:.3f}")
    table.add_row("accuracy, %", *(f"{arms[arm]['accuracy']:.2f}" for arm in ("dense", "twin", "pruned")), "")
    worst = max(report["vs_twin"]["classes"], key=lambda cls: cls["drop"]["est"])
    table.add_row(
        f"worst class ({worst['name']}), %",
        f"{arms['dense']['recall'][worst['id']]:.2f}",
        f"{worst['recall_ref']:.2f}",
        f"{worst['recall']:.2f}",
        "",
    )
    console.print(table)
    colour = {"PASS": "green", "FAIL": "red"}.get(report["verdict"], "yellow")
    console.print(f"verdict: [bold {colour}]{report['verdict']}[/bold {colour}]")
    for reason in report["verdict_reasons"]:
        console.print(f"  - {reason}", markup=False)


def demo(output: Path) -> None:
    step("1. Train a small residual network on scikit-learn's handwritten digits")
    show(f"python examples/digits/make_model.py {output}")
    subprocess.run([sys.executable, HERE / "make_model.py", output], check=True)

    step("2. Start the service")
    data_dir = output / "server"
    shutil.rmtree(data_dir, ignore_errors=True)
    with server(data_dir, output / "server.log") as api, httpx.Client(base_url=api, timeout=60) as client:
        show(f"API={api}")

        step("3. Upload the network and its data")
        model = upload(client, "models", output / "digits.pt2")
        dataset = upload(client, "datasets", output / "digits.npz")
        describe(model, dataset)

        step("4. Prune to half the MACs, fine-tune, audit, export")
        job = run_job(client, model["id"], dataset["id"])

        step("5. Download what was made, checking digests")
        paths = download(client, job["id"], output / "artifacts")
        report = json.loads((output / "artifacts" / "report.json").read_text())

        step("6. Run the downloaded model.onnx in ONNX Runtime")
        accuracy = verify_onnx(output / "artifacts" / "model.onnx", output / "digits.npz", report)
        console.print(f"  right on {accuracy:.2f} % of the test images, as the report says")

    console.print()
    print_result(report)
    console.print("\nartifacts, digests verified:")
    for path in paths:
        console.print(f"  {path}  {path.stat().st_size:,} bytes", markup=False)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for all files of the demo")
    output = arguments.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        demo(output)
    except (DemoFailed, httpx.HTTPError, subprocess.CalledProcessError) as error:
        console.print(f"\n[bold red]The demo failed:[/bold red] {type(error).__name__}")
        console.print(str(error), markup=False)
        return 1
    console.print(
        f"\nDone in {time.monotonic() - begun:.0f} s. Open {output}/artifacts/report.html for the whole report."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
