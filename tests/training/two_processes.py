"""What processes do together, `torchrun two_processes.py FOLDER`: answer, own folders, and take the run of each."""

import sys
from pathlib import Path

import torch

from dasr_fast.processes import joined
from dasr_fast.training.configuration import configure
from dasr_fast.training.folder import owned
from dasr_fast.training.trainer import Trainer


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as processes:
        answers = [processes.any(False), processes.any(processes.rank == 1), processes.any(True)]
        (folder / f"answers{processes.rank}").write_text(f"{processes.world} {answers}")
        for run in sorted(path for path in folder.iterdir() if path.is_dir()):
            configuration = configure(run / "begin.toml", {})
            with owned(run, processes):
                (run / f"owned{processes.rank}").touch()
                Trainer(configuration, run, processes).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
