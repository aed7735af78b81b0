"""Taking archives apart and putting them together wrongly."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Members = dict[str, bytes]
Json = dict[str, Any]

MODEL = "plain/models/model.json"
WEIGHTS = "plain/data/weights/model_weights_config.json"
CONSTANTS = "plain/data/constants/model_constants_config.json"


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, members: Members, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return path


def edit(members: Members, name: str, change: Callable[[Json], object]) -> None:
    """Change a JSON member in place."""
    document = json.loads(members[name])
    change(document)
    members[name] = json.dumps(document).encode()


def nodes(program: Json) -> list[Json]:
    found: list[Json] = program["graph_module"]["graph"]["nodes"]
    return found


class _Creates:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.sentinel}",)


def pickle_bomb(sentinel: Path) -> bytes:
    """Creates `sentinel` when it is unpickled."""
    return pickle.dumps(_Creates(sentinel))
