import os
from pathlib import Path

import pytest
from full_disk import files_of_at_most

from dasr_fast.files import check_writable, written_whole


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_what_the_umask_allows(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = os.umask(umask)
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("The umask is every thread's."))
    try:
        (tmp_path / "expected").touch()
        with written_whole(tmp_path / "a.txt") as temporary:
            temporary.unlink()
            temporary.touch(0o600)  # As some libraries make files.
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "expected").stat().st_mode


def test_what_fails_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with (
        files_of_at_most(100),
        pytest.raises(OSError, match=rf"^{path} can't be written: File too large\.$"),
        written_whole(path) as temporary,
    ):
        temporary.write_bytes(bytes(200))
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: 'other'"), written_whole(path):
        Path("other").read_text()  # Not a failure to write.
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_whether_a_file_can_be_written_is_found_without_a_trace(tmp_path: Path):
    check_writable(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        check_writable(tmp_path / "no" / "a.txt")
    with pytest.raises(OSError, match="can't be written: File name too long"):
        check_writable(tmp_path / ("n" * 300))
    with files_of_at_most(100), pytest.raises(OSError, match="can't be written: File too large"):
        check_writable(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
