import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu_acceptance
from benchmarks.acceptance.part import ROOT
from benchmarks.gpu_acceptance import Part, Run, environment, main

MODULES = {
    "passes": "def run(asked, report):\n    report.line = f'on {asked.device}'\n    report.figures['answer'] = 42\n",
    "tells": "def run(asked, report):\n    report.figures['left'] = asked.left\n",
    "fails": "def run(asked, report):\n    report.fail('first line\\nsecond line')\n",
    "raises": "def run(asked, report):\n    raise ValueError('no such thing')\n",
    "dies": "import os\ndef run(asked, report):\n    print('last words', flush=True)\n    os._exit(3)\n",
    "lacks": "import a_package_that_nobody_has\n",
    "sleeps": """
import subprocess, sys, time
def run(asked, report):
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    report.line, report.figures['child'] = 'half done', child.pid
    report.write(asked.folder)
    time.sleep(60)
""",
}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """Parts that do little, by name."""
    for name, text in MODULES.items():
        (tmp_path / f"acceptance_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return {name: Part(name, 60, module=f"acceptance_{name}") for name in MODULES}


def alive(pid: int) -> bool:
    """Whether there is a process that hasn't ended."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_the_rest_goes_on_after_a_failure(parts: dict[str, Part], tmp_path: Path):
    names = ["fails", "raises", "dies", "lacks", "passes"]
    reports = Run([parts[name] for name in names], tmp_path / "out", "cpu", 300, 1)()
    assert [report.state for report in reports] == ["failed", "failed", "failed", "absent", "passed"]
    assert reports[3].line == "it needs the Python package a_package_that_nobody_has"
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "| fails | **failed** |" in page
    assert "- fails: first line\n" in page
    assert "- raises: ValueError: no such thing\n" in page
    assert "- dies: it ended with status 3: last words\n" in page
    assert "- answer: 42\n" in page
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [part["state"] for part in written["parts"]] == [report.state for report in reports]


def test_a_part_is_stopped_at_its_limit_with_all_that_it_started(parts: dict[str, Part], tmp_path: Path):
    late = Part("sleeps", 4, module=parts["sleeps"].module)
    begin = time.monotonic()
    reports = Run([late, parts["passes"]], tmp_path / "out", "cpu", 64, 1)()
    assert time.monotonic() - begin < 40
    assert [report.state for report in reports] == ["late", "passed"]
    assert "half done" in reports[0].line
    assert not alive(reports[0].figures["child"])


def test_parts_for_which_no_time_is_left_are_skipped(parts: dict[str, Part], tmp_path: Path):
    (report,) = Run([parts["passes"]], tmp_path / "out", "cpu", 1, 1)()
    assert report.state == "skipped"
    assert "1 s were left, and it needs 8" in report.line


def test_parts_that_need_not_be_alone_run_together(parts: dict[str, Part], tmp_path: Path):
    together = [Part(name, 60, alone=False, module=parts["passes"].module) for name in ("one", "two")]
    reports = Run([*together, parts["passes"]], tmp_path / "out", "cpu", 300, 2)()
    assert [(report.part, report.state) for report in reports] == [(n, "passed") for n in ("one", "two", "passes")]


def test_dry_run_of_real_parts(tmp_path: Path):
    given = ["--device", "cpu", "--only", "tests", "sanitizer", "--output", str(tmp_path / "out"), "--pack"]
    assert main(given) == 0
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "| tests | passed |" in page
    assert "| sanitizer | absent |" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "details.tar.gz",
        "summary.json",
        "summary.md",
    ]


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        main([])
    assert "No NVIDIA GPU was found; --device cpu is a dry run." in capsys.readouterr().err


def test_a_checkout_needs_no_installation(tmp_path: Path):
    code = "import dasr_fast, dasr_fast.kernels as k; print(dasr_fast.__file__, *k.__path__, dasr_fast.__version__)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment("cpu"), cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert found[:2] == [str(ROOT / "dasr_fast" / "__init__.py"), str(ROOT / "kernels")]
    assert found[2].count(".") == 2


def test_what_a_part_leaves_is_shared_by_those_after_it(parts: dict[str, Part], tmp_path: Path):
    tells = [Part(name, 10, module=parts["tells"].module) for name in ("one", "two")]
    one, two = Run(tells, tmp_path, "cpu", 60, 1)()
    assert 20 < one.figures["left"] <= 25
    assert 35 < two.figures["left"] <= 55


def test_parts_share_the_time_in_proportion_if_it_is_short(parts: dict[str, Part], tmp_path: Path):
    (report, _) = Run([Part("tells", 60, module=parts["tells"].module), parts["passes"]], tmp_path, "cpu", 60, 1)()
    assert 15 < report.figures["left"] <= 25


def test_an_archive_is_there_after_each_part(parts: dict[str, Part], tmp_path: Path):
    """Of what the parts before it have written, whatever happens then."""
    looks = Part("looks", 60, module="acceptance_looks")
    (tmp_path / "acceptance_looks.py").write_text(
        "import os, tarfile\n"
        "def run(asked, report):\n"
        f"    out = {str(tmp_path / 'out')!r}\n"
        "    report.figures = {'output': os.listdir(out), 'packed': tarfile.open(f'{out}/details.tar.gz').getnames()}\n"
    )
    _, report = Run([parts["passes"], looks], tmp_path / "out", "cpu", 300, 1, packed=True)()
    assert sorted(report.figures["output"]) == ["details.tar.gz", "summary.json", "summary.md"]
    assert set(report.figures["packed"]) == {"details", "details/passes.json", "details/passes.log"}


def test_a_report_that_is_broken_is_none(parts: dict[str, Part], tmp_path: Path):
    breaks = Part("breaks", 60, module="acceptance_breaks")
    (tmp_path / "acceptance_breaks.py").write_text(
        "import os\n"
        "def run(asked, report):\n"
        "    (asked.folder / 'breaks.json').write_text('{\"part\": ')\n"
        "    os._exit(1)\n"
    )
    reports = Run([breaks, parts["passes"]], tmp_path / "out", "cpu", 300, 1)()
    assert [report.state for report in reports] == ["failed", "passed"]


def test_a_folder_that_is_no_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--reference", str(tmp_path), "--output", str(tmp_path / "out")])
    assert f"{tmp_path} is no checkout of the released code: there is no model/blindsr.py." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_part_has_a_module():
    for part in gpu_acceptance.PARTS:
        assert os.path.exists(ROOT / "benchmarks" / "acceptance" / f"{part.name}.py")
