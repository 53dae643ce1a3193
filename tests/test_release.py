"""A release is refused where its tree isn't ready, and its sums are those of its files."""

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "release.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="An sdist has no .ci.")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of version 1.2.0 that is ready."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.0] - 2026-12-01\n\n## [1.1.0] - 2026-11-01\n")
    (folder / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.0\n")
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "Everything"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture
def release(tree: Path) -> dict[str, Any]:
    """The names of the script, whose repository is the tree."""
    names = runpy.run_path(str(SCRIPT))
    names["main"].__globals__["ROOT"] = tree
    return names


def test_a_tree_that_is_ready(release: dict[str, Any]):
    assert release["unready"]("1.2.0") == []


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n## 1.2.0\n", "CHANGELOG.md begins with Unreleased"),
        ("CHANGELOG.md", "# Changelog\n", "CHANGELOG.md begins with None"),
        ("CITATION.cff", "cff-version: 1.2.0\nversion: 1.1.0\n", "CITATION.cff has 1.1.0"),
        ("new.py", "", "files are not committed:\n?? new.py"),
    ],
)
def test_what_is_missing_is_named(release: dict[str, Any], tree: Path, name: str, text: str, reason: str):
    (tree / name).write_text(text)
    assert any(found.startswith(reason) for found in release["unready"]("1.2.0"))


def test_nothing_is_built_then(
    release: dict[str, Any], tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(release["main"].__globals__, "make", lambda output: pytest.fail("It built."))
    monkeypatch.setattr("sys.argv", ["release.py", "--output", str(tree / "dist")])
    (tree / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    with pytest.raises(SystemExit, match="1"):
        release["main"]()
    said = capfd.readouterr().out
    assert "CHANGELOG.md begins with 1.2.0, and pyproject.toml has 1.3.0." in said
    assert "M pyproject.toml" in said


def test_a_folder_with_an_older_release_is_refused(
    release: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "old.whl").touch()
    monkeypatch.setattr("sys.argv", ["release.py", "--output", str(tmp_path / "dist")])
    with pytest.raises(SystemExit, match=r"dist is not empty"):
        release["main"]()


def test_sums_are_those_that_sha256sum_finds(release: dict[str, Any], tmp_path: Path):
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "b.whl").write_bytes(bytes(range(256)))
    (folder / "a.tar.gz").write_bytes(b"")
    made = release["sums"](folder)
    assert [line.split()[1] for line in made.splitlines()] == ["a.tar.gz", "b.whl"]
    (folder / "SHA256SUMS").write_text(made)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
