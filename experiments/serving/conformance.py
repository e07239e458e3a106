"""Random and hostile requests, made by schemathesis from the description that a server gives of itself.

    python -m venv schemathesis && schemathesis/bin/pip install schemathesis
    python experiments/serving/conformance.py --run runs/labels --run runs/chat --schemathesis schemathesis/bin/st

No answer may be an error of the server, and every answer must have a status, a media type and a form that the description
names. Whether a valid text is taken is not checked: the description cannot say that a text of spaces is refused.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def served(runs: list[str]) -> Iterator[str]:
    """The address of a server of runs."""
    command = [sys.executable, "-m", "ftlit", "serve", "--port", "0", *(part for run in runs for part in ("--run", run))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        if not line.startswith("serving "):
            raise SystemExit(f"the server did not start: {' '.join(command)}")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait()


def main(options: argparse.Namespace) -> int:
    """Check the description of a server of runs against what it does."""
    checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    amount = ["--phases", "coverage,fuzzing", "--max-examples", str(options.examples), "--continue-on-failure"]
    with served(options.run) as url, tempfile.TemporaryDirectory() as folder:
        command = [options.schemathesis, "run", f"{url}/openapi.json", *checks, *amount, "--generation-deterministic"]
        return subprocess.run(command, cwd=folder).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True, help="folder of a run, or name=folder")
    parser.add_argument("--schemathesis", default="st", help="the command of schemathesis")
    parser.add_argument("--examples", type=int, default=60, help="random requests for each path")
    sys.exit(main(parser.parse_args()))
