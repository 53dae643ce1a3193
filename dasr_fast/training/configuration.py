"""What a training run is told: typed, by options or a TOML file, and stored with the run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from tomlkit.exceptions import TOMLKitError

from dasr_fast.files import write_text
from dasr_fast.training.schedule import WARM_UP


def _not_blank(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("should not be empty")
    return value


Name = Annotated[str, AfterValidator(_not_blank)]
Folder = Annotated[Path, BeforeValidator(_not_blank), AfterValidator(lambda path: path.expanduser().absolute())]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[int, Field(gt=0, lt=2**31)]
Part = Annotated[int, Field(gt=0, le=100)]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Width = Annotated[float, Field(ge=0, allow_inf_nan=False)]


OF_PAPER = ("kernel", "sigma_min", "sigma_max", "noise", "mode")
"""Settings of the paper's degradation."""


class ConfigurationError(ValueError):
    """A run is told something wrong; the message says what is accepted."""


class Configuration(BaseModel):
    """All settings of a run; the defaults are the paper's recipe.

    Each field's description is its help on the command line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    data: Folder = Field(description="Folder of HR images; its subfolders are searched too.")
    lr: Folder | None = Field(
        None, description="Folder of LR images of the same names as those of --data, in place of degraded ones."
    )
    validation: Folder | None = Field(None, description="Folder of HR images on which PSNR and SSIM are measured.")
    validation_lr: Folder | None = Field(None, description="Folder of the LR images of --validation, which --lr needs.")
    cache: Folder | None = Field(None, description="Folder for the decoded images; the user's cache if left out.")
    licence: str = Field("not stated", description="Licence of the weights, for the model card.")

    scale: Literal[2, 3, 4] = Field(4, description="Factor between LR and SR.")
    degradation: Literal["paper", "photo", "second-order", "bsrgan"] = Field(
        "paper",
        description="From HR to LR. paper: Gaussian blur, downsampling and noise, by the next five settings. photo: "
        "what happens to photographs, JPEG compression included. second-order: that of Real-ESRGAN. bsrgan: that of "
        "BSRGAN. These three have their own kernels and noise.",
    )
    kernel: Literal["isotropic", "anisotropic"] = Field("anisotropic", description="Kind of Gaussian blur kernels.")
    sigma_min: Width = Field(0.2, description="Smallest standard deviation of the kernels in pixels.")
    sigma_max: Width | None = Field(None, description="Largest one; the scale if left out, as in the paper.")
    noise: Width = Field(25.0, description="Largest standard deviation of the noise in grey levels.")
    mode: Literal["bicubic", "s-fold"] = Field("bicubic", description="Downsampling.")

    representation: Literal["moco", "in-batch", "memory-bank", "predictor", "fixed", "sr-loss", "oracle"] = Field(
        "moco",
        description="How the degradation representation is learned. fixed: not at all, that of --initial-weights stays "
        "as it is. The last three have no stage of the encoder alone.",
    )
    queue: Annotated[int, Field(gt=0, le=2**20)] = Field(8192, description="Number of keys that moco keeps.")
    momentum: Momentum = Field(0.999, description="Momentum of moco's key encoder; less suits short runs.")
    batch_statistics: Literal["synchronized", "shuffled", "kept"] = Field(
        "synchronized",
        description="Statistics for batch normalisation. synchronized: of all processes' images. shuffled: of each "
        "process's own, with other images for moco's keys than for its queries. kept: once everything is trained, "
        "those of the encoder's own stage, which a small batch can't disturb.",
    )
    initial_weights: Name | None = Field(
        None,
        description="Weights to begin with, by path, a run's folder or a shipped name such as x4; random ones if left "
        "out. If they are of another scale, the tail begins anew.",
    )
    groups: Part = Field(5, description="Residual groups of the SR network.")
    blocks: Part = Field(5, description="DA blocks in each group.")
    channels: Annotated[int, Field(gt=0, le=1024)] = Field(64, description="Channels of the features.")
    depthwise: Literal["dynamic", "static"] = Field(
        "dynamic", description="Depthwise kernels made from the representation, or ordinary ones, for ablation."
    )
    gate: Literal["parallel", "none"] = Field("parallel", description="Channel modulation, or none.")

    encoder_steps: Count = Field(97_000, description="Steps of the encoder alone: 100 epochs of 970.")
    steps: Count = Field(485_000, description="Steps of everything after them: 500 epochs of 970.")
    encoder_learning_rate: Rate = Field(
        1e-3, description="Learning rate of the encoder alone; it falls to a tenth after 60 % of its steps."
    )
    learning_rate: Rate = Field(1e-4, description="Largest learning rate once everything is trained.")
    schedule: Literal["halved", "stable"] = Field(
        "halved",
        description="Course of the learning rate once everything is trained. halved: after each 25 % of the steps, as "
        "in the paper. stable: it rises over --warm-up-steps, stays, and falls linearly to 0 over --decay-steps at the "
        "end (WSD); before that fall a resumed run may change --steps and --decay-steps.",
    )
    warm_up_steps: Count | None = Field(
        None, description=f"Steps of the rise of the stable schedule; {WARM_UP} if left out, whatever --steps is."
    )
    decay_steps: Count | None = Field(
        None, description="Steps of the fall at the end of the stable schedule; a tenth of --steps if left out."
    )
    batch: Positive = Field(32, description="Images a step, over all processes together.")
    patch: Annotated[int, Field(ge=8, lt=2**16)] = Field(48, description="Side of the LR patches in pixels.")
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Largest norm of the gradient; unlimited if left out."
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Decay of the weights' moving average, such as 0.999, which then becomes the result; 0: none."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="Random seed; the same one draws the same.")

    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto", description="Precision of the networks: auto is tf32 on a GPU that has it, and fp32 elsewhere."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    cuda_graph: bool = Field(True, description="Whether a single GPU's step is replayed as a CUDA graph.")
    log_every: Positive = Field(100, description="Steps between two entries of the log.")
    validate_every: Positive = Field(5000, description="Steps between two validations.")
    save_every: Positive = Field(1000, description="Steps between two checkpoints.")
    pt: bool = Field(False, description="Write the weights as weights.pt too.")

    @model_validator(mode="after")
    def _agree(self) -> "Configuration":
        if self.encoder_steps + self.steps == 0:
            raise ValueError("encoder_steps and steps are both 0: there is nothing to train")
        if (self.depthwise, self.gate) == ("static", "none"):
            raise ValueError("depthwise = static and gate = none together leave no use for the representation")
        if self.representation == "fixed" and self.initial_weights is None:
            raise ValueError("representation = fixed needs initial_weights, whose encoder it keeps")
        for name, value in (("warm_up_steps", self.warm_up_steps), ("decay_steps", self.decay_steps)):
            if value is not None and self.schedule != "stable":
                raise ValueError(f"{name} is for schedule = stable")
        if self.decay_steps is not None and self.decay_steps > self.steps:
            raise ValueError(f"decay_steps is {self.decay_steps}, above steps, which is {self.steps}")
        if self.lr is not None:
            self._check_defaults("degradation", *OF_PAPER, reason="LR images are given by lr")
            if self.representation in ("memory-bank", "predictor", "oracle"):
                raise ValueError(f"representation = {self.representation} is for degradations that are known, not lr")
        elif self.degradation != "paper":
            self._check_defaults(*OF_PAPER, reason=f"degradation = {self.degradation} has its own")
            if self.representation in ("memory-bank", "oracle"):
                raise ValueError(f"representation = {self.representation} is for degradation = paper")
        if (self.validation_lr is not None) != (self.lr is not None and self.validation is not None):
            raise ValueError("validation_lr goes with lr and validation, and they with it")
        if self.sigma_min > self.largest_sigma:
            raise ValueError(f"sigma_min is {self.sigma_min:g}, above sigma_max, which is {self.largest_sigma:g}")
        return self

    def _check_defaults(self, *names: str, reason: str) -> None:
        """Raises ValueError if one of these settings isn't left as it is by default."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} can't be set: {reason}")

    @property
    def largest_sigma(self) -> float:
        """`sigma_max`, or the paper's for the scale."""
        return float(self.scale) if self.sigma_max is None else self.sigma_max

    @property
    def warm_up(self) -> int:
        """Steps of the warm-up."""
        return WARM_UP if self.warm_up_steps is None else self.warm_up_steps

    @property
    def decay(self) -> int | None:
        """Steps of the decay at the end; None if the learning rate is halved instead."""
        if self.schedule == "halved":
            return None
        return self.steps // 10 if self.decay_steps is None else self.decay_steps


MAY_DIFFER = frozenset(
    (
        "data",
        "lr",
        "validation",
        "validation_lr",
        "cache",
        "licence",
        "device",
        "cuda_graph",
        "log_every",
        "validate_every",
        "save_every",
        "pt",
    )
)
"""Settings that a resumed run may change: none that decides on its weights (a checkpoint knows its images)."""

MAY_DIFFER_BEFORE_DECAY = {"steps", "decay_steps"}
"""Settings that a resumed run with the stable schedule may change too, as long as its decay hasn't begun."""

FLOAT32 = {"auto", "fp32", "tf32"}
"""Precisions that a resumed run may change for one another, as its device may not have that with which it began."""


def configure(file: Path | None, options: Mapping[str, Any]) -> Configuration:
    """Settings of a TOML file, if there is one, and of options, which override it.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigurationError: A setting is unknown, missing or wrong; the message names it.
    """
    return _checked({**(_read(file) if file is not None else {}), **options}, file)


def resumed(file: Path, options: Mapping[str, Any]) -> Configuration:
    """The settings that a run stored in `file`, with the options that may differ from them.

    Whether the decay has begun, before which more may differ, only the run's checkpoints tell.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigurationError: An option would make it another run.
    """
    stored = _checked(_read(file), file)
    settings = stored.model_dump(exclude_none=True)
    if "device" in options and stored.precision == "tf32":  # Which another device may not have.
        settings["precision"] = "auto"
    wanted = _checked({**settings, **options}, None)
    for name in options:
        before, now = getattr(stored, name), getattr(wanted, name)
        of_float32 = name == "precision" and {before, now} <= FLOAT32
        of_decay = name in MAY_DIFFER_BEFORE_DECAY and stored.schedule == "stable"  # `Trainer.resume` looks further.
        if before != now and name not in MAY_DIFFER and not of_float32 and not of_decay:
            raise ConfigurationError(
                f"The run was begun with {name} = {before}, and can't be resumed with {now}; a new run can begin with "
                f"its weights: --initial-weights {file.parent}."
            )
    return wanted


def store(configuration: Configuration, file: Path) -> None:
    """Write the settings as TOML, whole or not at all; those that are None are left out."""
    write_text(file, tomlkit.dumps(configuration.model_dump(mode="json", exclude_none=True)))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"There is no configuration {file}.")
    try:
        content = tomlkit.parse(file.read_text(encoding="utf-8-sig")).unwrap()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}.") from None
    settings: dict[str, Any] = {}
    for name, value in content.items():
        setting = name.replace("-", "_")  # As the options are named.
        if setting in settings:
            raise ConfigurationError(f"{file}: {setting} is there twice, with hyphens and without.")
        settings[setting] = value
    return settings


def _checked(settings: Mapping[str, Any], file: Path | None) -> Configuration:
    try:
        return Configuration.model_validate(settings)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error, settings, file)) from None


def _sentence(error: ValidationError, settings: Mapping[str, Any], file: Path | None) -> str:
    """The first mistake in one sentence."""
    mistake = error.errors()[0]
    name = ".".join(str(part) for part in mistake["loc"][:1])
    where = f"{file}: " if file is not None else ""
    if mistake["type"] == "missing":
        return f"{where}{name} is needed: {Configuration.model_fields[name].description}"
    if mistake["type"] == "extra_forbidden":
        return f"{where}there is no setting {name}; there are {', '.join(Configuration.model_fields)}."
    if not name:
        return f"{where}{mistake['msg'].removeprefix('Value error, ')}."
    accepted = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}{name} {accepted[:1].lower()}{accepted[1:]}; got {settings[name]!r}."
