from pathlib import Path
from typing import Any, get_args

import pytest
import tomlkit

from dasr_fast.training.configuration import MAY_DIFFER, Configuration, ConfigurationError, configure, resumed, store
from dasr_fast.training.representation import LEARNERS
from dasr_fast.training.schedule import Schedule

PAPER = Schedule(97_000, 485_000, 1e-3, 1e-4)


def test_the_papers_epochs():
    rates = [1e-3] * 60 + [1e-4] * 40 + [1e-4] * 125 + [5e-5] * 125 + [2.5e-5] * 125 + [1.25e-5] * 125
    assert PAPER.total == 970 * len(rates)
    for epoch, rate in enumerate(rates):
        for step in (970 * epoch, 970 * epoch + 969):
            assert PAPER.stage(step) == ("encoder" if epoch < 100 else "everything")
            assert PAPER.rate(step) == pytest.approx(rate)


def test_without_a_stage():
    assert Schedule(0, 4, 1e-3, 1e-4).stage(0) == "everything"
    assert [Schedule(0, 4, 1e-3, 8.0).rate(step) for step in range(4)] == [8, 4, 2, 1]
    assert Schedule(2, 0, 1e-3, 1e-4).total == 2


def test_warm_up_stable_decay():
    schedule = Schedule(5, 1000, 1e-3, 1e-4, decay_steps=200, warm_up_steps=10)
    warm_up, decay = [1e-4 * n / 11 for n in range(1, 11)], [1e-4 * n / 201 for n in range(200, 0, -1)]
    assert [schedule.rate(step) for step in (0, 4)] == pytest.approx([1e-3, 1e-4], rel=1e-12)
    expected = [*warm_up, *[1e-4] * 790, *decay]
    assert [schedule.rate(step) for step in range(5, 1005)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("steps", "decay", "rates"), [(4, 2, [3, 3, 2, 1]), (3, 0, [3, 3, 3])])
def test_a_stable_rate_of_few_steps(steps: int, decay: int, rates: list[float]):
    schedule = Schedule(0, steps, 1e-3, 3.0, decay_steps=decay, warm_up_steps=0)
    assert [schedule.rate(step) for step in range(steps)] == pytest.approx(rates)


def test_rates_before_the_decay_do_not_depend_on_its_place():
    shorter, longer = (Schedule(5, steps, 1e-3, 1e-4, decay_steps=decay) for steps, decay in ((3000, 200), (9000, 50)))
    assert shorter.decay_begins == 2805
    assert all(shorter.rate(step) == longer.rate(step) for step in range(2805))
    assert shorter.rate(2805) < longer.rate(2805)
    assert Schedule(5, 3000, 1e-3, 1e-4).decay_begins is None


def test_the_defaults_are_the_papers_recipe():
    c = configure(None, {"data": "photos"})
    assert (c.encoder_steps, c.steps) == (100 * 970, 500 * 970)
    assert (c.encoder_learning_rate, c.learning_rate) == (1e-3, 1e-4)
    assert (c.scale, c.kernel, c.sigma_min, c.largest_sigma, c.noise) == (4, "anisotropic", 0.2, 4.0, 25.0)
    assert (c.batch, c.patch, c.queue, c.momentum, c.representation) == (32, 48, 8192, 0.999, "moco")
    assert (c.groups, c.blocks, c.channels) == (5, 5, 64)


def test_options_override_the_file(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('data = "photos"\nscale = 2\nbatch = 16\nclip = 1\n')
    c = configure(file, {"batch": 8})
    assert (c.scale, c.batch, c.clip, c.largest_sigma) == (2, 8, 1.0, 2.0)
    assert c.data == Path.cwd() / "photos"


def test_what_is_stored_is_toml_that_gives_the_same_settings(tmp_path: Path):
    c = configure(None, {"data": 'a "b" \\ ü', "clip": 0.5, "pt": True, "validation": tmp_path})
    store(c, tmp_path / "c.toml")
    assert configure(tmp_path / "c.toml", {}) == c
    content = tomlkit.parse((tmp_path / "c.toml").read_text()).unwrap()
    assert content["clip"] == 0.5
    assert "sigma_max" not in content
    assert resumed(tmp_path / "c.toml", {}) == c


@pytest.mark.parametrize(
    ("settings", "decay"), [({}, None), ({"schedule": "stable"}, 48_500), ({"schedule": "stable", "decay_steps": 0}, 0)]
)
def test_the_decay(settings: dict[str, Any], decay: int | None):
    assert configure(None, {"data": "x", **settings}).decay == decay


def test_every_learner_can_be_chosen():
    assert set(get_args(Configuration.model_fields["representation"].annotation)) == set(LEARNERS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": None}, "data is needed: Folder of HR images"),
        ({"steeps": 3}, "there is no setting steeps; there are data, lr, validation,"),
        ({"scale": 5}, "scale should be 2, 3 or 4; got 5."),
        ({"batch": 0}, "batch should be greater than 0; got 0."),
        ({"patch": 4}, "patch should be greater than or equal to 8; got 4."),
        ({"noise": float("nan")}, "noise should be a finite number; got nan."),
        ({"momentum": 1}, "momentum should be less than 1; got 1."),
        ({"ema": 1}, "ema should be less than 1; got 1."),
        ({"steps": "many"}, "steps should be a valid integer, unable to parse string as an integer"),
        ({"precision": "fp8"}, "precision should be 'auto', 'fp32', 'tf32' or 'bf16'; got 'fp8'."),
        ({"sigma_min": 3, "sigma_max": 2}, "sigma_min is 3, above sigma_max, which is 2."),
        ({"sigma_min": 3, "scale": 2}, "sigma_min is 3, above sigma_max, which is 2."),
        ({"depthwise": "static", "gate": "none"}, "together leave no use for the representation."),
        ({"representation": "fixed"}, "representation = fixed needs initial_weights, whose encoder it keeps"),
        *(({name: " "}, f"{name} should not be empty") for name in ("data", "validation", "cache", "initial_weights")),
        ({"data": ""}, "data should not be empty; got ''."),
        ({"channels": 100_000}, "channels should be less than or equal to 1024; got 100000."),
        ({"queue": 10**12}, "queue should be less than or equal to 1048576; got 1000000000000."),
        ({"steps": 10**12}, "steps should be less than 2147483648; got 1000000000000."),
        ({"lr": "y", "degradation": "photo"}, "degradation can't be set: LR images are given by lr"),
        ({"lr": "y", "noise": 3.0}, "noise can't be set: LR images are given by lr"),
        ({"lr": "y", "representation": "predictor"}, "predictor is for degradations that are known, not lr"),
        ({"lr": "y", "validation": "x"}, "validation_lr goes with lr and validation"),
        ({"degradation": "photo", "noise": 3.0}, "noise can't be set: degradation = photo has its own"),
        ({"degradation": "photo", "sigma_max": 3.0}, "sigma_max can't be set: degradation = photo has its own"),
        ({"degradation": "photo", "representation": "oracle"}, "representation = oracle is for degradation = paper"),
        *(({name: 5}, f"{name} is for schedule = stable.") for name in ("decay_steps", "warm_up_steps")),
        ({"schedule": "stable", "steps": 4, "decay_steps": 5}, "decay_steps is 5, above steps, which is 4."),
        ({"steps": 0, "encoder_steps": 0}, "both 0: there is nothing to train."),
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_mistakes_are_one_sentence(tmp_path: Path, settings: dict[str, Any], message: str, in_file: bool):
    file = tmp_path / "run.toml"
    settings = {name: value for name, value in {"data": "x", **settings}.items() if value is not None}
    file.write_text(tomlkit.dumps(settings if in_file else {}))
    with pytest.raises(ConfigurationError) as error:
        configure(file, {} if in_file else settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_by_other_editors_and_names_as_options_have_them(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_bytes(b'\xef\xbb\xbfdata = "x"\r\nencoder-steps = 5\r\nsave_every = 7\r\n')
    c = configure(file, {})
    assert (c.encoder_steps, c.save_every) == (5, 7)
    file.write_text('data = "x"\nsave-every = 5\nsave_every = 7\n')
    with pytest.raises(ConfigurationError, match="save_every is there twice, with hyphens and without"):
        configure(file, {})


def test_a_file_that_is_no_toml(tmp_path: Path):
    file = tmp_path / "run.toml"
    with pytest.raises(FileNotFoundError, match=r"There is no configuration .*run\.toml"):
        configure(file, {})
    for content in (b"data = photos", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"run\.toml is no TOML"):
            configure(file, {})


def test_a_resumed_run_may_change_only_what_does_not_decide_on_its_weights(tmp_path: Path):
    file = tmp_path / "c.toml"
    store(configure(None, {"data": "x", "batch": 8}), file)
    with pytest.raises(ConfigurationError, match=r"begun with batch = 8, .* resumed with 16; .*--initial-weights"):
        resumed(file, {"batch": 16})
    assert resumed(file, {"batch": 8, "log_every": 7}).log_every == 7
    for before, option, expected in (("tf32", "fp32", "fp32"), ("fp32", "auto", "auto"), ("tf32", "tf32", "tf32")):
        store(configure(None, {"data": "x", "precision": before}), file)
        assert resumed(file, {"precision": option}).precision == expected
        with pytest.raises(ConfigurationError, match=f"begun with precision = {before}, .* resumed with bf16"):
            resumed(file, {"precision": "bf16"})
    assert {"seed", "precision", "steps", "scale", "ema"}.isdisjoint(MAY_DIFFER)
    store(configure(None, {"data": "x"}), file)
    with pytest.raises(ConfigurationError, match="begun with steps = 485000, "):
        resumed(file, {"steps": 5})
    store(configure(None, {"data": "x", "schedule": "stable"}), file)
    later = resumed(file, {"steps": 600_000, "decay_steps": 7})
    assert (later.steps, later.decay) == (600_000, 7)
    with pytest.raises(ConfigurationError, match="begun with warm_up_steps = None, "):
        resumed(file, {"warm_up_steps": 5})


def test_a_run_of_a_gpu_goes_on_where_there_is_none(tmp_path: Path):
    file = tmp_path / "c.toml"
    store(configure(None, {"data": "x", "precision": "tf32", "device": "cuda"}), file)
    assert (resumed(file, {"device": "cpu"}).precision, resumed(file, {}).precision) == ("auto", "tf32")
    store(configure(None, {"data": "x", "precision": "bf16", "device": "cuda"}), file)
    assert resumed(file, {"device": "cpu"}).precision == "bf16"
