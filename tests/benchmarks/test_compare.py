import copy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.compare import WORSE, changes, main
from benchmarks.harness.results import Result, Run, write
from benchmarks.harness.work import BASELINE


def make(times: dict[str, float], seed: int, noise: float = 0.05, machine: float = 1.0) -> Run:
    """Ten rounds of contenders on a machine whose speed varies from round to round."""
    generator = np.random.default_rng(seed)
    speeds = machine * generator.uniform(0.8, 1.2, 10)
    results = [
        Result("ops", "op", name, [float(time * x) for x in speeds * generator.normal(1, noise, 10)])
        for name, time in times.items()
    ]
    facts = {"device": "A CPU", "kind": "cpu", "instructions": "AVX2", "threads": 2, "torch": "2.13"}
    return Run(facts, "the released code", {}, [], results, {})


BEFORE = {BASELINE: 1.0, "a": 1.0, "b": 0.5}


def verdicts(before: Run, after: Run, **options: bool) -> dict[str, str]:
    return {change.key[2]: change.verdict for change in changes(before, after, **options)}


def test_noise_changes_nothing():
    found = [verdicts(make(BEFORE, seed, noise=0.02), make(BEFORE, seed + 100, noise=0.02)) for seed in range(20)]
    assert sum(verdict != "same" for each in found for verdict in each.values()) == 0


def test_changes_are_found_on_a_slower_machine():
    after = make({BASELINE: 1.0, "a": 1.3, "b": 0.3}, 7, machine=3.0)
    assert verdicts(make(BEFORE, 1), after) == {"a": "slower", "b": "faster"}
    assert verdicts(make(BEFORE, 1), after, relative=False) == {BASELINE: "slower", "a": "slower", "b": "slower"}


def test_small_changes_do_not_count():
    after = make({BASELINE: 1.0, "a": 1.03, "b": 0.5}, 2, noise=0.001)
    assert verdicts(make(BEFORE, 1, noise=0.001), after)["a"] == "same"
    assert changes(make(BEFORE, 1, noise=0.001), after, threshold=0.01)[0].verdict == "slower"


def test_what_breaks_and_what_is_mended(run: Run):
    after = copy.deepcopy(run)
    by_name = {(result.suite, result.contender): result for result in after.results}
    by_name["ops", "dasr-fast"].seconds, by_name["ops", "dasr-fast"].error = [], 0.5
    by_name["ops", "another"].seconds, by_name["ops", "another"].failure = [], "it needs a GPU."
    by_name["ops", "wrong"].seconds, by_name["ops", "wrong"].error = [1.0], 0.0
    by_name["memory", "dasr-fast"].peak = 2_200_000
    after.results.remove(by_name["network", "Engine fp32"])
    found = {change.key[::2]: (change.verdict, change.verdict in WORSE) for change in changes(run, after)}
    assert found["ops", "dasr-fast"] == ("wrong now", True)
    assert found["ops", "another"] == ("fails now", True)
    assert found["ops", "wrong"] == ("right now", False)
    assert found["memory", "dasr-fast"] == ("more memory", True)
    assert found["network", "Engine fp32"] == ("gone", True)
    assert found["ops", "absent"] == ("same", False)


@pytest.mark.parametrize(("fail", "code"), [([], 0), (["--fail"], 1)])
def test_the_command(fail: list[str], code: int, tmp_path: Path):
    write(make(BEFORE, 1), tmp_path / "a.json")
    write(make({BASELINE: 1.0, "a": 2.0, "b": 0.5}, 2), tmp_path / "b.json")
    shown = CliRunner().invoke(main, [str(tmp_path / "a.json"), str(tmp_path / "b.json"), *fail])
    assert shown.exit_code == code
    assert "slower" in shown.output
    assert "1 worse" in shown.output
    same = CliRunner().invoke(main, [str(tmp_path / "a.json"), str(tmp_path / "a.json"), "--fail"])
    assert same.exit_code == 0
