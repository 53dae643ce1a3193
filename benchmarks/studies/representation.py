"""Train the encoder for a few hundred steps and see whether it tells degradations apart: a minute or two on two cores.

    python benchmarks/studies/representation.py --data photos/ --images others/ --output separability

The score is that of `dasr-fast represent` for widths 1 and 3 with noise 0, 5, 15 and 25, beside an untrained encoder's.
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dasr_fast.cli import run

FEW_STEPS = "--queue=1024 --momentum=0.99 --encoder-learning-rate=2e-4"
"""What MoCo needs then: with the paper's momentum keys hardly change, and at its rate, 1e-3, the encoder moves so fast
that it tells positives from the queue's keys by these being older."""

SIGMAS, NOISES = (1, 3), (0, 5, 15, 25)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of HR images for training.")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of other HR images.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("separability"), show_default=True)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
@click.option("--representation", type=click.Choice(["moco", "in-batch"]), default="moco", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(data: Path, images: Path, output: Path, steps: int, representation: str, seed: int) -> None:
    """Train an encoder on anisotropic blur and noise, and write OUTPUT/representations.png and .json."""
    recipe = f"--encoder-steps={steps} --steps=0 --batch=16 --seed={seed} {FEW_STEPS}".split()
    degradations = [f"--sigma={sigma}" for sigma in SIGMAS] + [f"--noise={noise}" for noise in NOISES]
    weights, plot = output / "run" / "weights.safetensors", output / "representations.png"
    train = ["train", f"--data={data}", f"--output={output / 'run'}", f"--representation={representation}", *recipe]
    represent = [
        "represent",
        str(images),
        f"--weights={weights}",
        "--compare=untrained",
        f"--seed={seed}",
        *degradations,
    ]
    results = [f"--output={plot}", f"--json={plot.with_suffix('.json')}"]
    sys.exit(run(train) or run([*represent, *results]))


if __name__ == "__main__":
    main()
