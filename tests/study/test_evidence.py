"""Evidence against what runs of every task report, and against the metrics of parts of their predictions."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef
from transformers import AutoTokenizer

import ftlit.tasks
from ftlit.__main__ import main
from ftlit.errors import UserError
from ftlit.metrics.evidence import EVIDENCE_KINDS, aligned
from ftlit.metrics.ngrams import bleu, chrf
from ftlit.runs.reading import RunFolder
from ftlit.study.statistics.evidence import evidence, joint_evidence
from tests.support.chats import chat_model, echoes
from tests.support.command_line import arguments
from tests.support.data import sentiment_splits, write_splits
from tests.support.questions import question_splits
from tests.support.speeds import some_by_default
from tests.support.tagged import letters_model, tagged_splits

Folder = Callable[[str], Any]
SHOWN = ("labels", "entities", "answer", "reply")  # run by default
FAST = {"model__optimizer": "AdamW", "model__optimizer__lr": 0.01}
CHAT = {"data__prompt": "question", "data__response": "answer", "data__template": "chatml", "data__max_length": 128}
WRITTEN = {"model__generation__max_new_tokens": 12, "model__generation__min_new_tokens": 4}
# Of each task: its module, its data, options, and the metrics that do not follow from predictions.
CASES: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "one label": ("TextClassification", "TextClassificationData", {}, {"auroc"}),
    "labels": (
        "TextClassification",
        "TextClassificationData",
        {"model__multi_label": "true", "data__label": "labels", **FAST},
        {"auroc"},
    ),
    "number": (
        "TextRegression",
        "TextRegressionData",
        {"data__text_pair": "other", "data__label": "score", **FAST},
        set(),
    ),
    "entities": ("TokenClassification", "TokenClassificationData", {"trainer__max_epochs": 4, **FAST}, set()),
    "tags": ("TokenClassification", "TokenClassificationData", {"model__spans": "false", **FAST}, set()),
    "relation": ("RelationExtraction", "RelationExtractionData", FAST, set()),
    "answer": (
        "QuestionAnswering",
        "QuestionAnsweringData",
        {"data__max_length": 24, "data__stride": 6, **FAST},
        {"no_answer_threshold"},
    ),
    "choice": ("MultipleChoice", "MultipleChoiceData", FAST, set()),
    "target": (
        "Seq2Seq",
        "Seq2SeqData",
        {"model__metrics": "[bleu, chrf, rouge, meteor, exact_match, token_f1]", **WRITTEN, **FAST, "trainer__max_epochs": 6},
        {"perplexity"},
    ),
    "reply": (
        "CausalLM",
        "ChatData",
        {"model__metrics": "[chrf, exact_match]", "model__pattern": "[abc]+", "model__tuning": "LoRA", **CHAT, **WRITTEN},
        {"bits_per_byte", "perplexity_of_text", "bits_per_byte_of_text", "accuracy"},
    ),
    "text": (
        "CausalLM",
        "CorpusData",
        {"data__max_length": 16},
        {"bits_per_byte", "perplexity_of_text", "bits_per_byte_of_text", "accuracy"},
    ),
    "gap": ("MaskedLM", "CorpusData", {"data__max_length": 16}, {"accuracy"}),
}


@pytest.fixture(scope="module")
def sources(
    tiny: Folder,
    tiny_seq2seq: Folder,
    emotions: str,
    grades: str,
    relations: str,
    questions: str,
    reversals: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[str, str]]:
    """The backbone and the data set of a case."""
    made = tmp_path_factory.mktemp("sources")

    def masked() -> str:

        tokenizer = AutoTokenizer.from_pretrained(tiny("bert"))
        tokenizer.mask_token = "word75"
        folder = made / "masked"

        shutil.copytree(tiny("bert"), folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    def corpus() -> str:
        return write_splits(made / "corpus", sentiment_splits())

    def source(case: str) -> tuple[str, str]:
        letters = made / f"letters {case}"
        found: dict[str, Callable[[], tuple[str, str]]] = {
            "labels": lambda: (tiny("bert"), emotions),
            "number": lambda: (tiny("bert"), grades),
            "entities": lambda: (letters_model(tiny("bert"), letters), write_splits(made / "entities", tagged_splits())),
            "tags": lambda: (letters_model(tiny("bert"), letters), write_splits(made / "tags", tagged_splits())),
            "relation": lambda: (tiny("bert"), relations),
            "answer": lambda: (tiny("bert"), question_splits(made / "answers", 0.3)),
            "choice": lambda: (tiny("bert"), questions),
            "target": lambda: (tiny_seq2seq("t5"), reversals),
            "reply": lambda: (
                chat_model(made / "chat"),
                write_splits(made / "echoes", {"train": echoes(40, 0), "validation": echoes(9, 1), "test": echoes(7, 2)}),
            ),
            "text": lambda: (tiny("llama"), corpus()),
            "gap": lambda: (masked(), corpus()),
        }
        return found[case]()

    return source


@pytest.fixture(scope="module")
def run(
    finished: Callable[[], Path], sources: Callable[[str], tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of a finished run of a case."""
    made = {"one label": finished()}

    def make(case: str) -> Path:
        if case not in made:
            model, data, options, _ = CASES[case]
            backbone, dataset = sources(case)
            given = {"model__backbone": backbone, "data__dataset": dataset, "test_after_fit": "true", **options}
            made[case] = tmp_path_factory.mktemp("runs") / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["ftlit"])
                main(arguments("fit", model, data, run_dir=made[case], **given))
        return made[case]

    return make


def value(kind: str, metric: str, rows: list[dict[str, Any]], settings: dict[str, Any] | None = None) -> float:
    """A metric from its evidence."""
    found = evidence(kind, metric, [rows], [0], settings)
    assert found is not None
    assert found.counts.shape[:2] == (1, len(rows))
    return float(found.score(found.counts[0].sum(0)))


@pytest.mark.parametrize(
    "case", some_by_default([*CASES], [[*CASES].index(case) for case in ("labels", "entities", "answer", "reply")])
)
def test_evidence_gives_the_metrics_of_the_run(case: str, run: Callable[[str], Path]) -> None:
    run_folder, (_, _, options, gaps) = RunFolder(run(case)), CASES[case]
    kind, rows = run_folder.record["evidence"], run_folder.prediction_rows("test")
    results = run_folder.results["test"]
    settings = {"pattern": options.get("model__pattern")}
    missing = {name for name in results if evidence(kind, name, [rows], [0], settings) is None}
    assert missing == gaps | {"loss"}
    for name in results.keys() - missing:
        found = value(kind, name, rows, settings)
        assert found == pytest.approx(results[name], rel=1e-6, abs=1e-6, nan_ok=True), name
    assert len(results) > len(missing)


# Against references, on made-up answers

LABELS = ["a", "b", "c"]


def answers(seed: int, count: int = 60, names: list[str] = LABELS) -> list[dict[str, Any]]:
    """Rows of a classifier that is right on about half; the right answers are the same for every seed."""
    rng = np.random.default_rng(seed)
    right = np.random.default_rng(99).choice(names, count)
    said = np.where(rng.random(count) < 0.5, right, rng.choice(names, count))
    scores = dict.fromkeys(names, 0.0)
    return [
        {"id": f"test:{i}", "label": str(a), "prediction": str(b), "scores": scores}
        for i, (a, b) in enumerate(zip(right, said, strict=True))
    ]


def resampled(rows: list[dict[str, Any]], seed: int) -> np.ndarray:
    """How often each row stands in a resample."""
    return np.bincount(np.random.default_rng(seed).integers(len(rows), size=len(rows)), minlength=len(rows))


@pytest.mark.parametrize("seed", range(5))
def test_weighted_sums_are_the_metrics_of_a_resample(seed: int) -> None:
    rows, weights = answers(seed), resampled(answers(seed), seed)
    drawn = [row for row, weight in zip(rows, weights, strict=True) for _ in range(weight)]
    right, said = ([row[key] for row in drawn] for key in ("label", "prediction"))
    expected = {
        "f1_macro": f1_score(right, said, average="macro"),
        "f1_weighted": f1_score(right, said, average="weighted"),
        "f1_micro": f1_score(right, said, average="micro"),
        "mcc": matthews_corrcoef(right, said),
        "accuracy": np.mean(np.equal(right, said)),
    }
    for name, score in expected.items():
        found = evidence("labels", name, [rows], [0])
        assert found is not None
        assert found.score(weights @ found.counts[0]) == pytest.approx(score, abs=1e-12), name


@pytest.mark.parametrize(("metric", "score"), [("bleu", bleu), ("chrf", chrf)])
def test_weighted_sums_are_the_corpus_scores_of_a_resample(metric: str, score: Callable[..., dict[str, float]]) -> None:
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog", "lay", "under", "that", "old", "tree"]
    rows = [
        {"id": f"{i}", "label": [" ".join(text), " ".join(text[2:])], "prediction": " ".join(text[: int(rng.integers(3, 9))])}
        for i in range(12)
        for text in [list(rng.choice(words, 9))]
    ]
    weights = resampled(rows, 1)
    drawn = [row for row, weight in zip(rows, weights, strict=True) for _ in range(weight)]
    found = evidence("texts", metric, [rows], [0])
    assert found is not None
    expected = score([str(row["prediction"]) for row in drawn], [list(row["label"]) for row in drawn])[metric]
    assert found.score(weights @ found.counts[0]) == pytest.approx(expected, abs=1e-9)
    several = found.score(np.stack([weights @ found.counts[0], found.counts[0].sum(0)]))
    assert several.shape == (2,)


@pytest.mark.parametrize(
    ("right", "said"),
    [("aab", "aaa"), ("aaa", "aba"), ("aaa", "aaa"), ("aaa", "bbb"), ("bbba", "bbbb"), ("abab", "baba"), ("abab", "abab")],
)
def test_matthews_of_one_class_is_scikit_learn_s(right: str, said: str) -> None:
    rows = [
        {"id": str(i), "label": a, "prediction": b, "scores": {"a": 0, "b": 0}}
        for i, (a, b) in enumerate(zip(right, said, strict=True))
    ]
    assert value("labels", "mcc", rows) == pytest.approx(matthews_corrcoef([*right], [*said]), abs=1e-12)


def test_a_constant_prediction_has_no_correlation() -> None:
    rows = [{"id": str(i), "label": float(i), "prediction": 0.1} for i in range(9)]
    for metric in ("pearson", "spearman"):
        assert np.isnan(value("values", metric, rows))


def test_large_numbers_keep_their_correlation() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(2, 50)) * 1e-3 + 1e6
    rows = [{"id": str(i), "label": a, "prediction": b} for i, (a, b) in enumerate(numbers.T.tolist())]
    assert value("values", "pearson", rows) == pytest.approx(np.corrcoef(numbers)[0, 1], abs=1e-6)


def test_every_task_declares_a_known_kind() -> None:
    known = [getattr(ftlit.tasks, name) for name in ftlit.tasks.__all__]
    tasks = [task for task in known if issubclass(task, ftlit.tasks.TaskModule) and ".shared." not in task.__module__]
    assert len(tasks) == 9
    assert {task.evidence for task in tasks} == set(EVIDENCE_KINDS)


def test_labels_without_scores_are_those_of_the_rows() -> None:
    bare = [{key: value for key, value in row.items() if key != "scores"} for row in answers(3)]
    assert value("labels", "f1_macro", bare) == value("labels", "f1_macro", answers(3))


def test_unknown_kinds_and_metrics_have_no_evidence() -> None:
    assert evidence(None, "accuracy", [answers(0)], [0]) is None
    assert evidence("my kind", "accuracy", [answers(0)], [0]) is None
    assert evidence("labels", "loss", [answers(0)], [0]) is None
    assert evidence("replies", "pattern_match", [answers(0)], [0]) is None
    assert evidence("texts", "bertscore_f1", [answers(0)], [0]) is None


# Several runs


def entities(*found: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"label": label, "start": start, "end": start + 1} for label, start in found]


def test_arms_are_counted_in_the_same_columns() -> None:
    rows = [
        {"id": "test:0", "tokens": ["x", "y"], "label": entities(("PER", 0)), "tags": [], "prediction": entities(("PER", 0))}
    ]
    other = [{**rows[0], "prediction": entities(("PER", 0), ("LOC", 2))}]
    found = joint_evidence("tags", "f1_macro", {"a": {0: rows}, "b": {0: other}})
    assert found is not None
    assert found["a"].counts.shape == found["b"].counts.shape == (1, 1, 6)
    assert [float(found[arm].score(found[arm].counts[0, 0])) for arm in "ab"] == [1.0, 0.5]


def test_seeds_are_put_into_one_order_by_id() -> None:
    first, second = answers(0), answers(1)
    found = joint_evidence("labels", "accuracy", {"a": {3: first, 5: second[::-1]}, "b": {3: second}})
    assert found is not None
    assert found["a"].seed_names == (3, 5)
    assert (found["a"].counts[1] == found["b"].counts[0]).all()


def test_ids_that_come_twice_are_told_apart() -> None:
    rows = [{"id": "test:q", "label": str(i), "prediction": str(i)} for i in range(3)]
    assert aligned({"a": rows, "b": rows}) == {"a": rows, "b": rows}


def test_other_data_are_refused() -> None:
    rows = answers(0)
    start = r"^a \(seed 0\) and b \(seed 1\) were evaluated on different data, so their examples cannot be paired: "
    with pytest.raises(UserError, match=start + r"example 'test:59' is only in a \(seed 0\); use the same section `data`"):
        joint_evidence("labels", "accuracy", {"a": {0: rows}, "b": {1: rows[:-1]}})
    changed = [{**rows[0], "label": "z"}, *rows[1:]]
    with pytest.raises(UserError, match=start + r"example 'test:0' has a different right answer"):
        joint_evidence("labels", "accuracy", {"a": {0: rows}, "b": {1: changed}})


def test_predictions_that_are_not_there_or_broken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no predictions of validation; `python -m ftlit validate --config "):
        RunFolder(tmp_path).prediction_rows("validation")
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "test.jsonl").write_text('{"id": "a\u2028b"}\n{"id": \n', encoding="utf-8")
    with pytest.raises(UserError, match=r"test.jsonl is damaged: line 2 is not valid JSON"):
        RunFolder(tmp_path).prediction_rows("test")
    (folder / "test.jsonl").write_text('{"id": "a\u2028b"}\n', encoding="utf-8")
    assert RunFolder(tmp_path).prediction_rows("test") == [{"id": "a\u2028b"}]


def test_rows_of_one_document_are_one_cluster() -> None:
    rows = [{"id": i, "label": "a", "prediction": "ab"[i % 2], "group": f"document {i // 3}"} for i in range(9)]
    found = joint_evidence("labels", "accuracy", {"one": {0: rows}})
    assert found is not None
    assert found["one"].clusters is not None
    assert found["one"].clusters.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    alone = joint_evidence("labels", "accuracy", {"one": {0: [{**row, "group": None} for row in rows]}})
    assert alone is not None
    assert alone["one"].clusters is None
