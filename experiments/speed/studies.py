"""How long studies take, next to an earlier version of ftlit.

    git worktree add ../before 2fd8ece
    python experiments/speed/studies.py --before ../before ../before/experiments/studies/quickstart.yaml "FILE --seeds [0]"

Each study runs with each version in turn, as `python -m ftlit study run` in new processes with new caches; options may follow
its file. Writes experiments/results/speed_studies.md.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parent))

from shared import machine

RESULTS = Path("experiments/results/speed_studies.md")


def seconds(version: Path, study: Path, options: list[str]) -> tuple[float, int]:
    """Run a study with the code in a folder; returns its seconds and its number of cells."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        environment = {**os.environ, "PYTHONPATH": str(version), "HF_DATASETS_CACHE": f"{place}/cache"}
        command = [sys.executable, "-P", "-m", "ftlit", "study", "run", str(study), "--folder", str(folder), *options]
        begun = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        taken = time.monotonic() - begun
        return taken, len(list(folder.glob("cells/*/results.json")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="folder of the earlier version")
    parser.add_argument("--turns", type=int, default=1, help="runs of each study with each version")
    parser.add_argument("--jobs", default="2", help="cells at a time")
    parser.add_argument("studies", nargs="+", help="study files, each with options for it")
    given = parser.parse_args()
    versions, table = (given.before.absolute(), Path.cwd()), []
    for study in given.studies:
        file, *options = shlex.split(study)
        taken = [0.0, 0.0]
        for _ in range(given.turns):
            for i, version in enumerate(versions):
                found, cells = seconds(version, Path(file).absolute(), ["--jobs", given.jobs, *options])
                taken[i] += found / given.turns
                print(file, ("before", "now")[i], f"{found:.0f} s", f"{cells} cells", flush=True)
        title = " ".join([Path(file).stem, *options])
        table.append([title, cells, *(f"{found:.0f} s" for found in taken), f"{taken[1] / taken[0]:.2f}"])
    text = tabulate(table, headers=["study", "cells", "before", "now", "share"], tablefmt="github")
    commit = subprocess.run(["git", "-C", given.before, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    names = " ".join(shlex.quote(study) for study in given.studies)
    RESULTS.write_text(
        "# Studies before and after frozen layers were stored\n\n"
        f"    git worktree add ../before {commit.stdout.strip()}\n"
        f"    python experiments/speed/studies.py --before ../before --turns {given.turns} --jobs {given.jobs} {names}\n\n"
        f"{text}\n\nEach study in turn, {given.jobs} cells at a time with one thread each, in new processes with new caches. "
        f"{machine()}\n"
    )
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
