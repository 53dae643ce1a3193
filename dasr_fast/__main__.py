"""`python -m dasr_fast` is the command `dasr-fast`, as `torchrun -m` wants it."""

from dasr_fast.cli import main

main()
