from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner

from benchmarks.harness.plots import draw
from benchmarks.harness.results import Run, read, write
from benchmarks.harness.tables import WIDTH, markdown
from benchmarks.report import main


def test_tables_and_plots_from_the_file_alone(run: Run, tmp_path: Path):
    write(run, tmp_path / "results.json")
    arguments = [tmp_path / "results.json", "--plots", tmp_path / "plots"]
    shown = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= max(WIDTH, len(str(tmp_path)) + 40)
    for text in (" ".join(shown.output.split()), markdown(run)):
        assert "WRONG" in text
        assert "failed" in text
        assert "1.91x" in text
        assert "max-autotune, which takes long" in text
    assert "| dasr-fast | 1100 | 14% | 1.91x | 73% | 1e-07 |" in markdown(run)
    assert "| dasr-fast | 2 | 3 | 2.00x |" in markdown(run)
    plots = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert plots == [f"{name}-{theme}.svg" for name in ("ops", "scaling", "speedup") for theme in ("dark", "light")]
    for plot in plots:
        root = ElementTree.parse(tmp_path / "plots" / plot).getroot()
        assert root.get("width") == "576pt"


def test_the_same_results_give_the_same_plots(run: Run, tmp_path: Path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    for one, two in zip(draw(run, tmp_path / "one"), draw(run, tmp_path / "two"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_several_files_are_one(run: Run, tmp_path: Path):
    """One file for each suite, as if all had been measured at once."""
    suites = sorted({result.suite for result in run.results})
    assert len(suites) > 1
    files = [tmp_path / f"{suite}.json" for suite in suites]
    for suite, file in zip(suites, files, strict=True):
        write(replace(run, results=[result for result in run.results if result.suite == suite]), file)
    shown = CliRunner().invoke(main, [*map(str, files), "--json", str(tmp_path / "all.json")])
    assert shown.exit_code == 0, shown.output
    whole = read(tmp_path / "all.json")
    assert whole.ceilings == run.ceilings
    assert sorted(map(str, whole.results)) == sorted(map(str, run.results))


def test_files_of_different_machines_or_of_something_else(run: Run, tmp_path: Path):
    one, other, strange = (tmp_path / f"{name}.json" for name in ("one", "other", "strange"))
    write(run, one)
    write(replace(run, machine={**run.machine, "threads": 99}), other)
    strange.write_text("{}")
    for files, said in (([one, other], "different machines"), ([strange], "holds no results")):
        shown = CliRunner().invoke(main, list(map(str, files)))
        assert (shown.exit_code, said in shown.output) == (2, True)
