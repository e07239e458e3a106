"""Several commands one after another in the same processes, so that everything is imported once.

python -m tests.support.several_commands '[["test", ...], ...]'
"""

import json
import sys

from ftlit.commands.cli import run

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        run(arguments)
