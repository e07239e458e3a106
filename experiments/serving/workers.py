"""One process of `ftlit serve` with a thread for each core, beside workers with fewer threads each, in turn.

    python experiments/serving/workers.py --run runs/quickstart --input data/sst2/test.tsv --column sentence

Needs wrk. Writes experiments/results/serving_workers.md.
"""

import argparse
import os
from pathlib import Path
from statistics import mean

from load import clients, resident, server, texts_of
from tabulate import tabulate

from ftlit.runs.record import hardware

RESULTS = Path("experiments/results/serving_workers.md")
CORES = os.cpu_count() or 1
SETTINGS = {
    f"one process, {CORES} threads": ("--threads", str(CORES)),
    f"{CORES} workers, one thread each": ("--workers", str(CORES), "--threads", "1"),
}
COLUMNS = ["clients", "server", "rows/s", "p50 ms", "p95 ms", "p99 ms", "MiB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="runs/quickstart")
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--turns", type=int, default=2)
    given = parser.parse_args()
    texts = texts_of(given.input, given.column)
    found: dict[tuple[int, str], list[list[float]]] = {}
    for turn in range(given.turns):
        for name in list(SETTINGS)[:: -1 if turn % 2 else 1]:
            with server("ftlit", given.run, "", *SETTINGS[name]) as (process, url):
                for count in given.clients:
                    clients(url, count, 3, texts)  # warm up
                    seen = clients(url, count, given.seconds, texts)
                    assert not any(seen["errors"].values()), seen
                    row = [seen["requests"] / seen["seconds"], *seen["milliseconds"], resident(process)]
                    found.setdefault((count, name), []).append(row)
    rows = []
    for (count, name), turns in sorted(found.items(), key=lambda pair: pair[0][0]):
        rate, *times, memory = map(mean, zip(*turns, strict=True))
        rows.append([count, name, f"{rate:.0f}", *(f"{time:.1f}" for time in times), f"{memory:.0f}"])
    RESULTS.write_text(
        "# Workers\n\n"
        f"    python experiments/serving/workers.py --run {given.run} --input {given.input} --column {given.column}\n\n"
        f"{tabulate(rows, headers=COLUMNS, tablefmt='pipe', disable_numparse=True)}\n\n"
        f"`ftlit serve` on {CORES} cores, which the clients share: means of {given.turns} turns of {given.seconds:g} s. "
        f"Memory is resident; pages that workers share are counted for each of them. {hardware()['processor']}.\n"
    )
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
