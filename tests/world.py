"""Commands in turn in the same processes, which import everything once: `python -m tests.world '[["test", ...], ...]'`."""

import json
import sys

from ftlit.commands.cli import run

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        run(arguments)
