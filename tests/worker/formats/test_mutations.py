"""Damage of any kind ends in a refusal: no reader lets another error out, or runs away."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.formats.archives import MODEL, WEIGHTS, Members, members_of, write_zip
from worker.errors import UnreadableDataset, UnreadableModel
from worker.formats.dataset import describe_dataset, read_dataset
from worker.formats.model import read_model
from worker.order import ChildLimits

bounded = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    # Every example writes its own bytes over those of the example before.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

Flips = list[tuple[int, int]]
FLIPS = st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=6)


def damaged(content: bytes, flips: Flips) -> bytes:
    changed = bytearray(content)
    for position, mask in flips:
        changed[position % len(changed)] ^= mask
    return bytes(changed)


def read_or_refuse_model(path: Path, limits: ChildLimits) -> None:
    with suppress(UnreadableModel):
        assert read_model(path, limits).inputs


def read_or_refuse_dataset(path: Path, limits: ChildLimits) -> None:
    with suppress(UnreadableDataset):
        assert describe_dataset(read_dataset(path, limits)).samples > 0


@bounded
@given(flips=FLIPS)
def test_flipped_bytes_of_a_pt2(flips: Flips, plain: Path, tmp_path: Path, limits: ChildLimits) -> None:
    (tmp_path / "model.pt2").write_bytes(damaged(plain.read_bytes(), flips))
    read_or_refuse_model(tmp_path / "model.pt2", limits)


@bounded
@given(member=st.sampled_from([MODEL, WEIGHTS]), flips=FLIPS)
def test_flipped_bytes_within_the_json_of_a_pt2(
    member: str, flips: Flips, plain: Path, tmp_path: Path, limits: ChildLimits
) -> None:
    members: Members = members_of(plain)
    members[member] = damaged(members[member], flips)
    read_or_refuse_model(write_zip(tmp_path / "model.pt2", members), limits)


TOKENS = st.sampled_from(
    [b"0", b"-1", b"1", b"3", b"9223372036854775807", b"1e999", b"null", b"true", b'"x"', b"[]", b"{}", b'"Infinity"']
)


@bounded
@given(member=st.sampled_from([MODEL, WEIGHTS]), place=st.integers(0, 2**20), token=TOKENS)
def test_numbers_in_the_json_replaced_by_other_values(
    member: str, place: int, token: bytes, plain: Path, tmp_path: Path, limits: ChildLimits
) -> None:
    members = members_of(plain)
    content = members[member]
    starts = [
        index
        for index in range(1, len(content))
        if content[index : index + 1].isdigit() and content[index - 1 : index] in (b" ", b"[")
    ]
    start = starts[place % len(starts)]
    end = start
    while content[end : end + 1].isdigit():
        end += 1
    members[member] = content[:start] + token + content[end:]
    read_or_refuse_model(write_zip(tmp_path / "model.pt2", members), limits)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], bytes]:
    folder = tmp_path_factory.mktemp("arrays")

    def make(compressed: bool) -> bytes:
        path = folder / "data.npz"
        save = np.savez_compressed if compressed else np.savez
        save(
            path,
            x=torch.arange(24, dtype=torch.float32).view(6, 4).numpy(),
            labels=np.array([0, 1, 2, 0, 1, 2]),
            split=np.array(["train", "test"] * 3),
            groups=np.array([1, 2, 1, 2, 1, 2]),
        )
        return path.read_bytes()

    return make


@bounded
@given(compressed=st.booleans(), flips=FLIPS)
def test_flipped_bytes_of_an_npz(
    compressed: bool, flips: Flips, arrays: Callable[[bool], bytes], tmp_path: Path, limits: ChildLimits
) -> None:
    (tmp_path / "data.npz").write_bytes(damaged(arrays(compressed), flips))
    read_or_refuse_dataset(tmp_path / "data.npz", limits)
