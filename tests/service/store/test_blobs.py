import asyncio
import os
from hashlib import sha256
from pathlib import Path

import pytest

from service.store.blobs import Blobs, DiskFull, Staged, TooManyBytes

MIB = 1024 * 1024


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    blobs = Blobs(tmp_path)
    blobs.prepare()
    return blobs


async def written(staged: Staged, *chunks: bytes) -> Staged:
    for chunk in chunks:
        await staged.write(chunk)
    await staged.close()
    return staged


def leftovers(blobs: Blobs) -> list[Path]:
    return list((blobs.root / "staging").iterdir())


@pytest.mark.parametrize("sizes", [[0], [1], [MIB], [MIB + 1, 1, 0, 3 * MIB], [65_536] * 100])
def test_bytes_arrive_whole_under_their_digest(blobs: Blobs, sizes: list[int]) -> None:
    chunks = [os.urandom(size) for size in sizes]
    content = b"".join(chunks)

    async def adopt() -> None:
        async with blobs.stage(limit=100 * MIB, keep_free=0) as staged:
            await written(staged, *chunks)
            assert staged.size_bytes == len(content)
            assert staged.sha256 == sha256(content).hexdigest()
            blobs.adopt(staged)

    asyncio.run(adopt())
    assert blobs.path(sha256(content).hexdigest()).read_bytes() == content
    assert leftovers(blobs) == []


def test_the_limit_holds_while_bytes_arrive(blobs: Blobs) -> None:
    async def exceed() -> None:
        async with blobs.stage(limit=2 * MIB, keep_free=0) as staged:
            await staged.write(bytes(2 * MIB))
            await staged.write(b"x")

    with pytest.raises(TooManyBytes):
        asyncio.run(exceed())
    assert leftovers(blobs) == []


def test_the_reserve_of_the_disk_is_kept(blobs: Blobs) -> None:
    async def fill() -> None:
        async with blobs.stage(limit=MIB, keep_free=blobs.free_bytes() * 2) as staged:
            await written(staged, b"x")

    with pytest.raises(DiskFull):
        asyncio.run(fill())
    assert leftovers(blobs) == []


def test_what_is_not_adopted_is_forgotten(blobs: Blobs) -> None:
    async def abandon() -> None:
        async with blobs.stage(limit=MIB, keep_free=0) as staged:
            await written(staged, b"x")

    asyncio.run(abandon())
    assert leftovers(blobs) == []
    assert not list((blobs.root / "blobs").rglob("*/*/*"))


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a/" * 32])
def test_only_digests_name_blobs(blobs: Blobs, digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        blobs.path(digest)


@pytest.mark.parametrize("job_id", ["../up", "job_/..", "", ".", "a/b"])
def test_only_ids_name_folders_of_jobs(blobs: Blobs, job_id: str) -> None:
    with pytest.raises(ValueError, match="not the id of a job"):
        blobs.work_dir(job_id)


def test_attempts_have_folders_of_their_own(blobs: Blobs) -> None:
    folders = {blobs.work_dir("job_1"), blobs.attempt_dir("job_1", 1), blobs.attempt_dir("job_1", 2)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)


def test_an_artifact_cannot_be_outside_of_its_folder(blobs: Blobs, tmp_path: Path) -> None:
    secret = tmp_path / "secateur.db"
    secret.write_text("secret")
    folder = blobs.attempt_dir("job_1", 1)
    (folder / "link").symlink_to(secret)
    (folder / "fine").write_text("")
    assert blobs.artifact("jobs/job_1/attempt-1/fine") == folder / "fine"
    for path in ("jobs/job_1/attempt-1/link", "jobs/../secateur.db", "/etc/passwd", "secateur.db"):
        with pytest.raises(ValueError, match="outside"):
            blobs.artifact(path)
