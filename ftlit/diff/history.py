"""``python -m ftlit history RUN``: the earlier runs that a run comes from."""

import json
from pathlib import Path
from typing import Any

from ftlit.commands.update.lineage import drawn, lineage
from ftlit.diff.printing import Parser


def main(args: list[str]) -> None:
    """Run the command.

    Args:
        args: The arguments after ``history``.

    Raises:
        UserError: The arguments are wrong, or the folder holds no run.
    """
    parser = Parser("ftlit history", description="Show the earlier runs that a run comes from.", allow_abbrev=False)
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(args)
    found = history(given.run)
    print(json.dumps(found, indent=2, ensure_ascii=False) if given.json else drawn(found))


def history(run: str | Path) -> dict[str, Any]:
    """Return a run with the earlier runs that it comes from, as ``parents``, and theirs.

    Args:
        run: Folder of the run.

    Raises:
        UserError: The folder holds no run.
    """
    return lineage(Path(run).expanduser())
