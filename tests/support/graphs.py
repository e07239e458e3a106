"""Exported graphs in tests: their model cards, and the answers of runs beside theirs."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftlit.data.relation_extraction import marked
from ftlit.exports.folder import stored_data
from ftlit.runs.checkpoint import find_checkpoint

PACKAGES = ("torch", "transformers", "ftlit", "onnx", "onnxruntime", "peft", "lightning")
WITHOUT = "import sys\nsys.modules.update(dict.fromkeys({}))\n"  # a module that is None cannot be imported


def rows_of(run: Path, count: int = 9) -> list[dict[str, Any]]:
    """The inputs of the first rows of test or validation of a run."""
    data = stored_data(find_checkpoint(run))
    rows = data.rows["validation"].select(range(count))
    names = [name for name in (data.input_columns() | data.optional_columns()).values() if name in rows.column_names]
    return [{name: row[name] for name in names} for row in rows]


def assert_close(found: Any, expected: Any, apart: float = 1e-4) -> None:
    """Check that two predictions have the same texts, and numbers that differ by no more than `apart`."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value, apart)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, apart)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=apart, rel=apart)
    else:
        assert found == expected


def example_of(folder: Path) -> str:
    """The program of a model card."""
    found = re.search(r"```python\n(.*?)\n```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def printed(folder: Path, texts: list[Any], names: str = "texts", runtime: str = "onnxruntime") -> list[str]:
    """What the program of a model card prints for other texts, without transformers and ftlit.

    Args:
        folder: The exported folder.
        texts: The texts.
        names: The variable that holds them.
        runtime: The one package that runs models and may be imported.
    """
    others = [name for name in PACKAGES if name != runtime]
    program, count = re.subn(rf"^{names} = \[\S.*$", f"{names} = {texts!r}", example_of(folder), flags=re.MULTILINE)
    assert count == 1
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(others) + program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def texts_of(rows: list[dict[str, Any]]) -> list[Any]:
    """The texts of rows, as the program of a model card takes them."""
    found: list[Any] = []
    for row in rows:
        if "head" in row:
            found.append(marked(row["text"], row["head"], row["tail"]))
        elif "tokens" in row:
            found.append(" ".join(row["tokens"]))
        else:
            values = tuple(row.values())
            found.append(values[0] if len(values) == 1 else values)
    return found


def check_example(
    task: str, folder: Path, rows: list[dict[str, Any]], expected: list[dict[str, Any]], runtime: str = "onnxruntime"
) -> None:
    """Check that the program of a model card gives the predictions of the run."""
    found = [row["prediction"] for row in expected]
    if task == "MultipleChoice":
        assert printed(folder, rows[0]["choices"], "choices", runtime)[0] in rows[0]["choices"]
        return
    lines = printed(folder, texts_of(rows), runtime=runtime)
    if task == "TextRegression":
        assert ast.literal_eval(lines[0]) == pytest.approx(found, abs=1e-3)
    elif task in ("TextClassification", "RelationExtraction"):
        assert ast.literal_eval(lines[0]) == found
    elif task == "QuestionAnswering":
        assert len(lines) == len(rows)
        assert all(line in row["context"] for line, row in zip(lines, rows, strict=True))
    elif task == "MaskedLM":
        assert [ast.literal_eval(line) for line in lines] == [row["tokens"] for row in expected]
    else:
        for line, row, one in zip(lines, rows, expected, strict=True):
            starts = [sum(len(word) + 1 for word in row["tokens"][:i]) for i in range(len(row["tokens"]))]
            pieces, place, labels = ast.literal_eval(line), 0, {}
            for piece, label in pieces:
                place = " ".join(row["tokens"]).index(piece, place)
                labels[place] = label
                place += len(piece)
            assert [labels[start] for start in starts] == one["tags"]
