"""Every architecture in every format: is it read, pruned exactly and priced right? Writes a page of docs.

python benchmarks/architectures.py [--output docs/architectures.md] [--only NAME ...] [--keep FOLDER]

The networks are those of `tests/worker/zoo.py`, written by hand and small, and those of torchvision and transformers
where these packages are installed; all with random weights. What the figures mean is on the page. The exit status is 1
if a row fails. With `--keep`, exported files and rows are kept in a folder, so that an interrupted run can go on there.
"""

# ruff: noqa: E501  lines of tables

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.worker.zoo import REAL_ZOO, ZOO, Example
from tests.worker.zoo_check import FORMS, Checked, NotExportable, check, read, write

REAL_FORMS = ("pt2", "torchscript-17", "dynamo-20")

INTRODUCTION = """# Architectures

Written by `make architectures`; do not edit. {count} networks with random weights, {small} of them small and written by
hand (`tests/worker/zoo.py`), {published} of torchvision and transformers. Each was exported by torch as `.pt2` and as
ONNX by both exporters, read by Secateur's own readers, and pruned in three random ways (30 %, 60 %, and 40 % of the
channels that no mean or variance runs over).

| column | |
|---|---|
| read | largest difference to the module in torch, at another batch size than it was exported with, and at another length where that is free |
| masked | largest difference of the pruned network to the dense one in which everything removed is forced to 0 after each op |
| zeroed | largest difference to the dense network in which only the removed weights are 0; "–" where each pruning touched a mean or a variance over channels, which then changes |
| prunable | part of the parameters that goes when one channel of each group is left |
| kept from pruning by | ops that hold channels, with the layers that make these |

Differences are relative to the largest answer. A row is exact if none is above 1e-5, if pruning changed the answers,
and if the pruned network, analysed anew, costs the MACs and parameters that were predicted. Exporters fold batch norm
into convolutions and write small tables of positions out in full, which moves the prunable part by a little.

"""

HEADER = (
    "| network | format | read | masked | zeroed | prunable | kept from pruning by |\n|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Row:
    name: str
    form: str
    text: str
    fails: bool


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, help="file to write; the page is printed without it")
    arguments.add_argument("--only", nargs="*", default=[], help="names of networks")
    arguments.add_argument("--keep", type=Path, help="folder for what an interrupted run goes on with")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    names = [name for name in (*ZOO, *REAL_ZOO) if not options.only or name in options.only]
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        small = list(rows((name for name in names if name in ZOO), ZOO, FORMS, folder))
        published = list(rows((name for name in names if name in REAL_ZOO), REAL_ZOO, REAL_FORMS, folder))
    text = page(small, published)
    if options.output:
        options.output.write_text(text)
    else:
        print(text)
    failing = [row for row in (*small, *published) if row.fails]
    for row in failing:
        print(f"{row.name} as {row.form} fails: {row.text}", file=sys.stderr)
    return 1 if failing else 0


def rows(
    names: Iterable[str], zoo: dict[str, Callable[[], Example]], forms: tuple[str, ...], folder: Path
) -> Iterable[Row]:
    for name in names:
        for form in forms:
            kept = folder / f"{name}.{form}.json"
            if kept.exists():
                yield Row(**json.loads(kept.read_text()))
                continue
            row = measured(name, form, zoo[name](), folder / f"{name}.{form}")
            print(f"{name} {form}: {row.text}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(asdict(row)))
            yield row


def measured(name: str, form: str, example: Example, path: Path) -> Row:
    try:
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.part")
            write(example, form, unfinished)
            unfinished.rename(path)
    except NotExportable as reason:
        return Row(name, form, f"not exportable | | | | {shortened(str(reason))}", fails=False)
    try:
        checked = check(example, read(path, form))
    except Exception as error:  # noqa: BLE001  whatever it is, the row fails and says why
        return Row(name, form, f"**fails** | | | | {shortened(f'{type(error).__name__}: {error}')}", fails=True)
    return Row(name, form, figures(checked), fails=not checked.is_exact)


def figures(checked: Checked) -> str:
    zeroed = "–" if checked.zeroed is None else f"{checked.zeroed:.0e}"
    held = "; ".join(f"`{blocked.op}`: {', '.join(blocked.layers)}" for blocked in checked.blocked)
    verdict = "" if checked.is_exact else "**fails** "
    return (
        f"{verdict}{checked.read:.0e} | {checked.masked:.0e} | {zeroed} | {100 * checked.share:.1f} % | "
        f"{shortened(held)}"
    )


def shortened(text: str) -> str:
    """One line of at most 100 characters that a table takes."""
    line = " ".join(text.replace("|", "/").split())
    return line if len(line) <= 100 else line[:99] + "…"


def page(small: list[Row], published: list[Row]) -> str:
    counts = [len({row.name for row in part}) for part in (small, published)]
    text = INTRODUCTION.format(count=sum(counts), small=counts[0], published=counts[1])
    text += "## Small networks\n\n" + table(small)
    if published:
        text += "\n## Networks of torchvision and transformers\n\n" + table(published)
    exportable = [row for row in (*small, *published) if not row.text.startswith("not exportable")]
    failing = sum(row.fails for row in exportable)
    text += (
        f"\n{len(exportable)} files read, {failing} rows failing. Measured on {datetime.now(UTC):%Y-%m-%d} with torch "
        f"{torch.__version__} and Python {platform.python_version()} on {platform.machine()}, one thread.\n"
    )
    return text


def table(part: list[Row]) -> str:
    return HEADER + "".join(f"| {row.name} | {row.form} | {row.text} |\n" for row in part)


if __name__ == "__main__":
    sys.exit(main())
