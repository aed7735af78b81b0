"""Zeros on their way out: they are in the files, and compressed they take no room."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import zstandard
from onnx import numpy_helper

from service.contract.recipe import Export, Prune
from tests.worker.networks import NETWORKS
from tests.worker.pruning.sparse_scene import Given, mixed, scene_of
from worker.export.compress import compress
from worker.export.latency import measure_latency
from worker.export.onnx import write_onnx
from worker.export.verify import verify_onnx
from worker.graph.network import Network
from worker.pruning.masks import Masks, zeros_of
from worker.pruning.sparsify import sparsify
from worker.stages.export import export


def sparse(network: Network, sparsity: float = 0.8) -> tuple[Network, Masks]:
    return sparsify(scene_of(network, Prune(granularity=["unstructured"])), Given(), sparsity)


def zeros_in(tensors: dict[str, np.ndarray]) -> int:
    return sum(int((tensor == 0).sum()) for tensor in tensors.values() if tensor.ndim > 1)


@pytest.mark.parametrize("name", ["conv-resnet", "padded-resnet", "mixed"])
def test_every_zero_is_in_both_files(name: str, tmp_path: Path) -> None:
    network, masks = sparse(mixed() if name == "mixed" else NETWORKS[name]())
    files = export(network, network, Export(), tmp_path, tmp_path, sparse=True)
    written = {value.name: numpy_helper.to_array(value) for value in onnx.load(files.onnx).graph.initializer}
    assert zeros_in(written) == zeros_of(masks)
    saved = {key: value.detach().numpy() for key, value in torch.export.load(files.pt2).state_dict.items()}
    assert zeros_in(saved) == zeros_of(masks)
    verify_onnx(files.onnx, network, None)


def test_the_compressed_file_is_the_file(tmp_path: Path) -> None:
    source, target = tmp_path / "model.onnx", tmp_path / "model.onnx.zst"
    write_onnx(sparse(mixed())[0], source)
    compress(source, target)
    assert zstandard.ZstdDecompressor().decompress(target.read_bytes()) == source.read_bytes()
    first = target.read_bytes()
    compress(source, target)
    assert target.read_bytes() == first


def test_the_command_line_tool_reads_it(tmp_path: Path) -> None:
    zstd = shutil.which("zstd")
    if zstd is None:
        pytest.skip("the program zstd is not installed")
    source, target = tmp_path / "model.onnx", tmp_path / "model.onnx.zst"
    source.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    compress(source, target)
    source.rename(tmp_path / "original")
    subprocess.run([zstd, "-d", "-q", str(target)], check=True)
    assert source.read_bytes() == (tmp_path / "original").read_bytes()


def test_zeros_save_room_only_where_the_file_is_compressed(tmp_path: Path) -> None:
    dense = NETWORKS["padded-resnet"]()
    files = export(sparse(dense, 0.9)[0], dense, Export(), tmp_path, tmp_path, sparse=True)
    (pruned, before), (packed, packed_before) = files.sizes, files.compressed_sizes
    assert pruned.size_bytes == before.size_bytes
    assert packed is not None
    assert packed_before is not None
    assert packed.name == "model.onnx.zst"
    assert packed.size_bytes < 0.35 * packed_before.size_bytes < 0.35 * before.size_bytes


def test_a_job_without_zeros_has_no_compressed_file(tmp_path: Path) -> None:
    files = export(mixed(), mixed(), Export(), tmp_path, tmp_path)
    assert files.compressed_sizes == (None, None)
    assert not list(tmp_path.glob("*.zst"))


def test_a_file_against_itself_has_an_interval_around_one(tmp_path: Path) -> None:
    write_onnx(mixed(), tmp_path / "model.onnx")
    (row,) = measure_latency(
        tmp_path / "model.onnx", tmp_path / "model.onnx", threads=1, batches=(1,), seconds_per_cell=0.3
    )
    assert row.ratio_ci95 is not None
    low, high = row.ratio_ci95
    assert 0 < low <= high
    assert low <= 1.1
    assert high >= 0.9
