import os
from pathlib import Path

import click
import pytest

from dasr_fast.cli.common import Report, output_paths, refuse_same_names, results_in


def test_many_images_are_planned_with_few_comparisons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    compared = 0
    equal = Path.__eq__

    def counted(a: Path, b: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(a, b)

    images = [tmp_path / f"{number}.png" for number in range(3000)]
    monkeypatch.setattr(Path, "__eq__", counted)
    targets = output_paths(tmp_path, images, tmp_path / "out", "_x4", ".webp")
    assert list(targets.values()) == [tmp_path / "out" / f"{number}.webp" for number in range(3000)]
    assert compared < 20 * len(images)
    with pytest.raises(click.UsageError, match=r"Two images would both be written to .*7\.webp"):
        refuse_same_names([*targets.values(), tmp_path / "out" / "7.webp"])


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path):
    with results_in(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with results_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "c").touch()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "c"]
    with results_in(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_dir()


def test_what_the_system_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = Report()
    with report.guard(tmp_path / "a.png"):
        os.open(tmp_path / "a.png", os.O_RDONLY)
    assert capsys.readouterr().err == f"dasr-fast: {tmp_path / 'a.png'}: No such file or directory.\n"
    assert (report.finish("Read"), capsys.readouterr().out) == (1, "Read: 0 done, 1 failed\n")
