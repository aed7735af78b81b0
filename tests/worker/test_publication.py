from pathlib import Path

import pytest

from worker.order import MadeFile
from worker.publication import NotPublishable, secure


def _file(name: str, size_bytes: int = 3) -> MadeFile:
    return MadeFile(name=name, media_type="text/plain", size_bytes=size_bytes, sha256="0" * 64)


def test_plain_files_of_the_announced_size_are_published(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("abc")
    secure(tmp_path, [_file("a.json")])


@pytest.mark.parametrize("name", ["../secateur.db", "/etc/passwd", ".hidden", "", "missing", "link", "folder"])
def test_names_that_lead_elsewhere_and_things_that_are_no_files_are_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotPublishable):
        secure(tmp_path, [_file(name)])


def test_a_file_of_another_size_and_a_name_given_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("abc")
    with pytest.raises(NotPublishable, match="3 bytes instead of 4"):
        secure(tmp_path, [_file("a.json", 4)])
    with pytest.raises(NotPublishable):
        secure(tmp_path, [_file("a.json"), _file("a.json")])
