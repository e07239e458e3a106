"""The command that audits a run and writes its report."""

import json
import sys
from pathlib import Path

from ftlit.insight.audit import frames
from ftlit.insight.audit.gate import FAILED
from ftlit.insight.audit.report import PAIRS_FILE, document, numbers, pair_rows, text
from ftlit.insight.audit.settings import read_settings
from ftlit.insight.report import report_folder, write_report
from ftlit.runs.reading import RunFolder
from ftlit.util.files import write_text

NAME = "audit"


def audit(
    run: str,
    config: str | None = None,
    output: str | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    checkpoint: str = "best",
    device: str | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Audit a finished run: groups of rows, swapped words, small changes of texts, and words that decide labels.

    The exit code is 3 if a limit under `gate` in the config is not kept. The report is written all the same.

    Args:
        run: Folder of the run.
        config: YAML file that says what to look at. By default what needs no settings.
        output: Folder of the report. Defaults to insight/audit in the folder of the run.
        split: `test` or `validation`, whose rows are used. Defaults to test if the run was evaluated on it.
        batch_size: Number of texts per batch; by default as many as have 512 tokens on a CPU, and 16384 on a GPU.
        checkpoint: `best`, `last`, or the path of a checkpoint.
        device: Device of the model. Defaults to the GPU if there is one.
        overwrite: Whether to replace an earlier audit in the output folder.
        trust_remote_code: Whether to run code that comes with the backbone. What the run says has no effect.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: An option or a setting is wrong, or there is no finished run.
    """
    read_settings(config)  # a mistake is found before the model is loaded
    folder = Path(run).expanduser()
    RunFolder(folder).check()
    trust = {"trust_remote_code": trust_remote_code, "trust_classes": trust_classes}
    with report_folder(folder, NAME, output, overwrite) as place:
        found = frames.audit(folder, config, split, batch_size, checkpoint=checkpoint, device=device, **trust)
        write_report(place, NAME, document(found), numbers(found))
        write_text(place / PAIRS_FILE, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in pair_rows(found)))
        print(text(found))
    missed = [str(check) for check in found.checks if not check.kept]
    if missed:
        print(*missed, sep="\n", file=sys.stderr)
        raise SystemExit(FAILED)
