"""Run one part and write its report."""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from benchmarks.acceptance.part import AbsentError, Asked, Report

OURS = ("benchmarks", "dasr_fast")


def main() -> int:
    """The command; returns 1 if the part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acceptance", description=__doc__)
    parser.add_argument("part", help="its name")
    parser.add_argument("--module", required=True, help="what has its function run(asked, report)")
    parser.add_argument("--folder", type=Path, required=True, help="for all that it writes")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--seconds", type=float, required=True, help="that it may take")
    parser.add_argument("--reference", type=Path, help="a checkout of the released code")
    parser.add_argument("--save", action="store_true", help="keep results in the repository")
    given = parser.parse_args()
    begin = time.monotonic()
    asked = Asked(given.folder, given.device, begin + given.seconds, given.reference, given.save)
    report = Report(given.part)
    report.write(asked.folder)
    try:
        importlib.import_module(given.module).run(asked, report)
        report.state = "failed" if report.failures else "passed"
    except AbsentError as error:
        report.state, report.line = "failed" if report.failures else "absent", str(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in OURS:
            raise
        report.state, report.line = "absent", f"it needs the Python package {error.name}"
    except Exception as error:  # Whatever a part can't do is a result.
        traceback.print_exc()
        report.state = "failed"
        report.fail(f"{type(error).__name__}: {error}")
    report.seconds = round(time.monotonic() - begin, 1)
    report.write(asked.folder)
    return int(report.state == "failed")


if __name__ == "__main__":
    sys.exit(main())
