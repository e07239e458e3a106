"""The command: its files and page, with hostile texts, and what it refuses."""

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import ftlit
from ftlit.__main__ import main
from ftlit.insight.explain.checks import Checks, Faithfulness, Mean
from ftlit.insight.explain.examples import Example
from ftlit.insight.explain.explanation import Explanation
from ftlit.insight.explain.report import SHOWN_TEXTS, SHOWN_WORDS, Summary, document, text, warnings
from ftlit.insight.explain.words import Word, Words
from ftlit.util.render.document import Document, Section, Shade, Shaded
from ftlit.util.render.markdown import markdown
from ftlit.util.render.page import page
from tests.support.command_line import refusal

Finished = Callable[[str], Path]
FILES = ["explain.html", "explain.json", "explain.md", "explanations.jsonl"]
HOSTILE = [
    "</mark><script>alert(1)</script>",
    "good \" onmouseover='alert(2)' x=\"",
    "**bad** | ~~word1~~ <b>fine</b> &amp; `x`",
]


def explained(run: Path, output: Path, *options: str) -> list[dict[str, Any]]:
    """The lines that the command writes."""
    main(["explain", "--run", str(run), "--output", str(output), *options])
    return [json.loads(line) for line in (output / "explanations.jsonl").read_text("utf-8").splitlines()]


def test_a_split_is_explained(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, folder = finished("Full"), tmp_path / "out"
    rows = explained(run, folder, "--split", "test", "--limit", "9")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    predictions = ftlit.open_run(run).prediction_rows("test")[:9]
    assert [row["id"] for row in rows] == [row["id"] for row in predictions]
    assert [row["target"] for row in rows] == [row["prediction"] for row in predictions]
    for row, prediction in zip(rows, predictions, strict=True):
        assert row["score"] == pytest.approx(prediction["scores"][row["target"]], abs=1e-4)
        total = sum(word["attribution"] for word in row["words"]) + row["special"]
        assert total - row["difference"] == pytest.approx(row["delta"], abs=1e-6)
        assert [prediction["text"][word["start"] : word["end"]] for word in row["words"]] == prediction["text"].split()
    numbers = json.loads((folder / "explain.json").read_text())
    assert (numbers["rows"], numbers["outputs"], numbers["stand_in"]) == (9, 9, "[UNK]")
    assert numbers["checks"]["comprehensiveness"]["difference"]["count"] == 9
    said = capsys.readouterr().out
    assert "rank correlation with the attributions of random weights" in said
    assert f"wrote {folder}: explain.html" in said


def test_the_place_of_the_report_and_its_replacement(finished: Finished, tmp_path: Path) -> None:
    run, folder = finished("LoRA"), tmp_path / "out"
    options = ("--split", "validation", "--limit", "2", "--checks", "false", "--method", "occlusion")
    explained(run, folder, *options)
    assert json.loads((folder / "explain.json").read_text())["checks"] is None
    assert "Shapley" not in (folder / "explain.html").read_text()
    explained(run, folder, *options, "--overwrite", "true")
    with pytest.raises(SystemExit):
        explained(run, folder, *options)


class Tags(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_hostile_texts_stay_texts(finished: Finished, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("\n".join(HOSTILE))
    rows = explained(finished("Full"), tmp_path / "out", "--input", str(file), "--checks", "false")
    assert [row["words"][0]["text"] for row in rows]
    html = (tmp_path / "out" / "explain.html").read_text()
    tags = Tags(html).found
    assert not {"script", "b", "img"} & {tag for tag, _ in tags}
    assert not any(name.startswith("on") for _, given in tags for name in given)
    assert not re.search(r"(src|href)=\"?(https?:)?//", html)
    marks = [given for tag, given in tags if tag == "mark"]
    assert marks
    assert all(re.fullmatch(r"--level: [01]\.\d\d", str(given["style"])) for given in marks)
    summary = (tmp_path / "out" / "explain.md").read_text()
    assert "<script>" not in summary
    assert "<b>" not in summary


def test_shaded_texts_in_markdown() -> None:
    pieces = [Shade("very", 1.0, "+2.0"), Shade(" "), Shade("*dull*", -0.8), Shade(" "), Shade("film", 0.2)]
    part = Shaded("row 1 · bad", pieces, "adds up")
    found = markdown(Document("t", "l", [Section("Words", [part])]))
    assert "**row 1 · bad**\n\n**very** ~~\\*dull\\*~~ film\n\nadds up" in found
    html = page(Document("t", "l", [Section("Words", [part])]))
    assert '<mark style="--level: 1.00" title="+2.0">very</mark> <mark class="down" style="--level: 0.80">*dull*</mark>' in html
    assert "color-mix(in srgb, var(--up)" in html


def explanation(words: int, row: int = 0) -> Explanation:
    found = [Word(f"w{i}", "text", 3 * i, 3 * i + 2) for i in range(words)]
    example = Example(row, "good", "good", {"input_ids": []}, {}, Words(found, []))
    return Explanation(row, row, example, 1.0, 0.0, 0.9, [1.0 / words] * words, 0.0, 16)


def summary(**changes: Any) -> Summary:
    faithful = Faithfulness(0.5, 0.1, Mean(0.4, 0.3, 0.5, 20))
    sufficient = Faithfulness(0.1, 0.4, Mean(-0.3, -0.4, -0.2, 20))
    given: dict[str, Any] = {
        "run": "mine", "task": "TextClassification", "method": "integrated_gradients", "source": "test", "output": "the logit",
        "stand_in": "[MASK]", "rows": 20, "outputs": 20, "empty": 0, "truncated": 0, "complete": 1.0, "steps": 16,
        "checks": Checks(faithful, sufficient, Mean(0.02, -0.1, 0.15, 20)),
    }  # fmt: skip
    return Summary(**{**given, **changes})


def test_a_page_says_when_a_picture_means_nothing() -> None:
    assert warnings(summary()) == []
    none, checks = Mean(0.0, -0.1, 0.1, 20), summary().checks
    assert checks is not None
    unfaithful = Checks(Faithfulness(0.1, 0.1, none), Faithfulness(0.1, 0.1, none), Mean(0.5, 0.3, 0.7, 20))
    found = warnings(summary(checks=unfaithful, complete=0.5))
    assert [sentence.split(":")[0].split(" than ")[0] for sentence in found] == [
        "Only 50% of the attributions add up to the difference of the outputs",
        "It was not shown that the words of highest attribution matter more to the model",
        "It was not shown that the words of highest attribution suffice better",
        "The same model with random weights ranks the words in a similar way",
    ]
    assert page(document(summary(checks=unfaithful), [explanation(3)])).count('class="warning"') == 3
    uncertain = Checks(checks.comprehensiveness, checks.sufficiency, Mean(0.5, -0.1, 1.1, 2))
    assert warnings(summary(checks=uncertain)) == []
    unknown = Checks(checks.comprehensiveness, checks.sufficiency, Mean(float("nan"), float("nan"), float("nan"), 0))
    assert warnings(summary(checks=unknown)) == ["No text has 3 words or more, so that random weights could not be compared."]
    assert "NaN" not in json.dumps(summary(checks=unknown).numbers())
    assert "Note: " in text(summary(checks=unknown))


def test_a_page_stays_small_and_says_what_it_leaves_out() -> None:
    many = page(document(summary(outputs=5000), [explanation(30, i) for i in range(5000)]))
    assert f"The first {SHOWN_TEXTS:,} of 5,000 explanations" in many
    long = page(document(summary(outputs=90), [explanation(1000, i) for i in range(90)]))
    assert f"The first {SHOWN_WORDS // 1000} of 90 explanations" in long
    assert len(long) < 5_000_000


REFUSED = {
    "nothing to explain": ([], "explain takes --input with a file of texts, or --split of the run's data; give one of them"),
    "two sources": (["--split", "test", "--input", "rows.txt"], "give one of them"),
    "no such split": (["--split", "dev"], "--split 'dev' is none of train, validation, test"),
    "no such file": (["--input", "absent.jsonl"], "--input 'absent.jsonl' does not exist"),
    "no such method": (
        ["--split", "test", "--method", "occlude"],
        "--method 'occlude' is none of .* Did you mean 'occlusion'?",
    ),
    "no such label": (["--split", "test", "--label", "neutral"], "--label 'neutral' is not a label of this run"),
    "no rows": (["--split", "test", "--limit", "0"], "--limit must be at least 1, got 0"),
    "no batches": (["--split", "test", "--batch_size", "0"], "batch_size must be at least 1, got 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, message = REFUSED[name]
    said = refusal(["explain", "--run", str(finished("Full")), "--output", str(tmp_path / "out"), *options], capsys)
    assert re.search(message, said)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_explained(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    for content, message in {
        '{"text": "good"}\n{"other": "x"}\n': r"rows.jsonl, line 2: .*'text'",
        "": "there is nothing to explain",
    }.items():
        file.write_text(content)
        command = ["explain", "--run", str(finished("Full")), "--input", str(file), "--output", str(tmp_path / "out")]
        assert re.search(message, refusal(command, capsys))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_run_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist; expected a run folder" in refusal(
        ["explain", "--run", str(tmp_path / "x"), "--split", "test"], capsys
    )


def test_a_package_that_is_missing(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    said = refusal(["explain", "--run", str(finished("Full")), "--split", "test"], capsys)
    assert "ftlit explain needs the package captum; install it with: pip install -e '.[insight]'" in said
