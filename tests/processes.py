"""Python programs in processes of their own."""

import os
import subprocess
import sys


def printed(*program: str, **variables: str | None) -> str:
    """What Python prints, called with these arguments and environment variables; None leaves one out."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    done = subprocess.run(
        [sys.executable, *program],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout
