"""A command line to call, and small images and weights to call it with."""

from pathlib import Path

import pytest
from cli_helpers import Call
from golden import arrays
from PIL import Image

from dasr_fast.cli import run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `dasr-fast` with the arguments; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An HR image of 84 x 96."""
    path = tmp_path / "photo.png"
    Image.fromarray(arrays("evaluation")["hr"].numpy()).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, photo: Path) -> Path:
    """Two images, one that is none, and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.open(photo)
    image.save(folder / "a.png")
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "c.tif")
    (folder / "b.png").write_bytes(photo.read_bytes()[:2000])
    (folder / "notes.txt").write_text("no image")
    return folder
