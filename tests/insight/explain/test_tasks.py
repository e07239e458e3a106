"""What is explained of each task, with every tuning method and architecture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.heads import PooledHead
from ftlit.insight.explain.command import rows_of
from ftlit.insight.explain.examples import batch_of
from ftlit.insight.explain.explainer import Explainer, explain
from ftlit.insight.explain.explanation import Explanation
from ftlit.insight.explain.methods import MOST_STEPS, TOLERANCE
from ftlit.tuning import Full, Tuning
from tests.support.served_tasks import TASKS, Case, untrained_cases
from tests.support.serving import untrained
from tests.support.tuning.methods import GAPS, METHODS, sampled

Cases = Callable[[str], Case]
ROWS = 4
NOISE = {"reversals": 0.01}  # of the weights: T5's own are large already
BACKBONES = {"reversals": "t5", "corpus": "gpt2", "chats": "llama"}  # of tasks that write; of the others it is bert
NO_NEW_HEAD = ("Frozen", "HeadFirst", "HeadFirst-LoRA")  # leave nothing to train in those
PAIRS = [
    (task, method)
    for task in TASKS
    for method in METHODS
    if (method, BACKBONES.get(task, "bert")) not in GAPS and not (task in BACKBONES and method in NO_NEW_HEAD)
]
DEFAULT = {
    ("sentiment", "PrefixTuning"),
    ("emotions", "PTuning"),
    ("grades", "IA3"),
    ("tags", "LoRA"),
    ("answers", "PromptTuning"),
    ("questions", "Houlsby"),
    ("relations", "LoRA+PromptTuning"),
    ("reversals", "PromptTuning"),
    ("chats", "DoRA"),
}


@pytest.fixture(scope="module")
def cases(
    tiny: Callable[[str], str],
    tiny_seq2seq: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Cases:
    return untrained_cases(tiny, tiny_seq2seq, tmp_path_factory.mktemp("cases"), request.getfixturevalue)


def tuned(predictor: Predictor, task: str, tuning: Tuning, **options: Any) -> Predictor:
    """The same task with a tuning method, and with weights that are large enough for all parts to matter."""
    given = {**predictor.data.hparams, "reserved_positions": tuning.positions}
    found = untrained(TASKS[task][0], type(predictor.data)(**given), tuning=tuning, **{**TASKS[task][2], **options})
    return with_larger_weights(found, NOISE.get(task, 0.1))


def with_larger_weights(predictor: Predictor, noise: float = 0.1) -> Predictor:
    """The same predictor, whose weights are changed by noise."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in predictor.model.parameters():
            if weight.is_floating_point():
                weight += noise * torch.randn_like(weight)
    return predictor


def checked_rows(predictor: Predictor, rows: list[Any]) -> list[dict[str, Any]]:
    return [predictor.row(i, row) for i, row in enumerate(rows)]


def explained(predictor: Predictor, rows: list[Any], method: str = "integrated_gradients", **options: Any) -> list[Explanation]:
    return list(Explainer(predictor, method, **options).stream(checked_rows(predictor, rows)))


def check_words(found: list[Explanation], predictor: Predictor, rows: list[Any]) -> None:
    """Words are where the explanation says that they are."""
    checked = checked_rows(predictor, rows)
    for one in found:
        for word in one.example.words.words:
            if word.column == "prompt":
                continue
            given = checked[one.row][word.column]
            text = " ".join(given) if isinstance(given, list) and word.column == "tokens" else given
            if isinstance(text, list):  # choices
                text = text[one.example.details["index"]]
            assert text[word.start : word.end] == word.text


def check_occlusion(predictor: Predictor, rows: list[Any], label: str | None) -> None:
    """An occluded word is as one whose tokens were replaced, without any change of embeddings."""
    explainer = Explainer(predictor, "occlusion", label)
    for one in list(explainer.stream(checked_rows(predictor, rows)))[:3]:
        batch = batch_of([one.example], predictor.data.pad_token_id, "cpu")
        with torch.no_grad():
            whole = explainer.view.measure(batch.inputs, batch.aims)[0].item()
            assert one.output == pytest.approx(whole, abs=1e-4)
            for word in range(min(len(one.attributions), 3)):
                ids = batch.inputs["input_ids"].masked_fill(batch.of_tokens == word, explainer.stand_in)
                without = explainer.view.measure({**batch.inputs, "input_ids": ids}, batch.aims)[0].item()
                assert one.attributions[word] == pytest.approx(whole - without, abs=1e-4)


def check(predictor: Predictor, rows: list[Any]) -> list[Explanation]:
    several = getattr(predictor.model, "multi_label", False)
    label = "long" if several else None  # since none may be predicted
    found = explained(predictor, rows, label=label)
    assert found
    assert sum(abs(one.delta) <= TOLERANCE * abs(one.difference) + 1e-3 for one in found) >= 0.8 * len(found)
    assert all(one.complete or one.steps == MOST_STEPS for one in found)
    assert any(abs(value) > 1e-4 for one in found for value in one.attributions)
    check_words(found, predictor, rows)
    check_occlusion(predictor, rows, label)
    return found


@pytest.mark.parametrize("task", TASKS)
def test_every_task(task: str, cases: Cases) -> None:
    predictor, rows = cases(task)
    predictor = tuned(predictor, task, Full())
    found = check(predictor, rows[:ROWS])
    answers = predictor(rows[:ROWS], scores=True)
    for one in found:
        answer = answers[one.row]
        assert one.example.prediction == answer["prediction"]
        expected = score_of(one, answer)
        assert expected is None or one.score == pytest.approx(expected, rel=1e-4)


def score_of(one: Explanation, answer: dict[str, Any]) -> float | None:
    """The score that the prediction has for what is explained, if it has one."""
    target, details = one.example.target, one.example.details
    if "tags" in answer:
        return next(e["score"] for e in answer["prediction"] if (e["start"], e["end"]) == (details["start"], details["end"]))
    if isinstance(answer.get("scores"), dict):
        return answer["scores"][target]
    if "index" in answer:
        return answer["score"]
    return answer["prediction"] if isinstance(answer["prediction"], float) else None


@pytest.mark.parametrize(("task", "method"), sampled(PAIRS, 10**9, lambda *case: case in DEFAULT))
def test_every_tuning_method(task: str, method: str, cases: Cases) -> None:
    predictor, rows = cases(task)
    check(tuned(predictor, task, METHODS[method].tuning), rows[:ROWS])


BY_DEFAULT = ("gpt2", "bart")
ARCHITECTURES = ("roberta", "distilbert", "electra", "deberta-v2", "modernbert", "llama", "gpt2", "t5", "bart")


@pytest.mark.parametrize(
    "architecture", [pytest.param(n, marks=[] if n in BY_DEFAULT else [pytest.mark.matrix]) for n in ARCHITECTURES]
)
def test_every_architecture(
    architecture: str, tiny: Callable[[str], str], tiny_seq2seq: Callable[[str], str], sentiment: str, cases: Cases
) -> None:
    """Among them encoder-decoder models, whose decoder reads the text once more."""
    data = type(cases("sentiment")[0].data)
    folder = tiny_seq2seq(architecture) if architecture in ("t5", "bart") else tiny(architecture)
    predictor = untrained("TextClassification", data(dataset=sentiment, backbone=folder))
    check(with_larger_weights(predictor, 0.03), cases("sentiment")[1][:ROWS])


@pytest.mark.parametrize("pooling", ["mean", pytest.param("max", marks=pytest.mark.matrix), "attention"])
@pytest.mark.parametrize("task", ["sentiment", pytest.param("relations", marks=pytest.mark.matrix)])
def test_pooled_heads(pooling: Any, task: str, cases: Cases) -> None:
    predictor, rows = cases(task)
    check(untrained(TASKS[task][0], predictor.data, head=PooledHead(pooling), **TASKS[task][2]), rows[:ROWS])


# What is explained


def test_another_label_is_explained_if_it_is_asked_for(cases: Cases) -> None:
    predictor, rows = cases("sentiment")
    for label in ("good", "bad"):
        found = explained(predictor, rows[:ROWS], label=label)
        assert [one.example.target for one in found] == [label] * ROWS
        answers = predictor(rows[:ROWS], scores=True)
        assert [one.score for one in found] == pytest.approx([answer["scores"][label] for answer in answers], rel=1e-4)
    with pytest.raises(UserError, match=r"--label 'god' is not a label of this run\. Did you mean 'good'\?"):
        Explainer(predictor, "occlusion", "god")


def test_each_predicted_label_of_several_is_explained(cases: Cases) -> None:
    predictor, rows = cases("emotions")
    answers = predictor(rows, scores=True)
    found = explained(predictor, rows)
    assert [(one.row, one.example.target) for one in found] == [
        (i, label) for i, answer in enumerate(answers) for label in answer["prediction"]
    ]
    assert len(explained(predictor, rows, label="long")) == len(rows)


def test_entities_of_one_label_are_explained(cases: Cases) -> None:
    predictor, rows = cases("tags")
    expected = [entity for answer in predictor(rows) for entity in answer["prediction"] if entity["label"] == "PER"]
    found = explained(predictor, rows, "gradient_x_input", label="PER")
    keys = ("text", "start", "end")
    assert [one.example.details for one in found] == [{key: entity[key] for key in keys} for entity in expected]
    assert {one.example.target for one in found} <= {"PER"}
    with pytest.raises(UserError, match="--label 'B-PER' is not a label of this run"):
        Explainer(predictor, "occlusion", "B-PER")


def test_entities_of_long_texts_are_explained_in_their_window(cases: Cases) -> None:
    predictor, _ = cases("tags")
    data = type(predictor.data)(**{**predictor.data.hparams, "max_length": 12})
    short = untrained("TokenClassification", data)
    rows = [{"tokens": ["abef", "d", "be", "cgh", "aeh", "de", "bf", "c", "a"]}]
    entities = short(rows)[0]["prediction"]
    found = check(short, rows)
    assert [(one.example.details["start"], one.example.target) for one in found] == [(e["start"], e["label"]) for e in entities]
    assert [one.score for one in found] == pytest.approx([entity["score"] for entity in entities], rel=1e-4)


def test_answers_of_long_contexts_are_explained_in_their_window(cases: Cases) -> None:
    predictor, rows = cases("answers")
    longest = max(rows, key=lambda row: len(row["context"]))
    [answer], [found] = predictor([longest]), explained(predictor, [longest])
    if answer["start"] is None:
        assert found.example.target == "no answer"
    else:
        assert found.example.details == {"start": answer["start"], "end": answer["end"]}
    best = predictor([longest], scores=True)[0]["scores"][0]
    assert {word.column for word in found.example.words.words} == {"question", "context"}
    assert best["prediction"]


def test_windows_of_relations_keep_their_words(cases: Cases) -> None:
    predictor, _ = cases("relations")
    data = type(predictor.data)(**{**predictor.data.hparams, "max_length": 26})
    words = [f"word{i}" for i in range(60)]
    start = len(" ".join(words[:20])) + 1
    ends = {"head": {"start": start, "end": start + 6}, "tail": {"start": start + 14, "end": start + 20}}
    long = {"text": " ".join(words), **ends}
    [found] = check(untrained("RelationExtraction", data), [long])
    assert found.example.truncated
    assert len(found.example.words.words) == 26 - 2 - 4


def test_written_tokens_are_those_of_the_prediction(cases: Cases) -> None:
    for task in ("chats", "reversals", "corpus"):
        predictor, rows = cases(task)
        found = explained(predictor, rows[:2], "gradient_x_input")
        for row, answer in enumerate(predictor(rows[:2])):
            own = [one for one in found if one.row == row]
            ids = [one.example.details["token"] for one in own]
            text = predictor.model.tokenizer.decode(ids, skip_special_tokens=True).strip()  # type: ignore[operator]
            assert text == answer["prediction"]
            assert [one.example.details["position"] for one in own] == list(range(len(own)))


def test_a_written_token_has_the_highest_logit_at_its_place(cases: Cases) -> None:
    """They are written greedily, so no other token has a higher probability there."""
    predictor, rows = cases("reversals")
    explainer = Explainer(predictor, "gradient_x_input")
    for one in explainer.stream(checked_rows(predictor, rows[:2])):
        batch = batch_of([one.example], predictor.data.pad_token_id, "cpu")
        with torch.no_grad():
            logits = predictor.model.logits(batch.inputs)[0, one.example.aims["position"]]
        assert logits.argmax().item() == one.example.details["token"]
        assert logits.max().item() == pytest.approx(one.output, abs=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_the_rows_of_a_split_can_be_explained(task: str, cases: Cases) -> None:
    """They are rows as the data have them, with answers, of which only the inputs are taken."""
    predictor, _ = cases(task)
    rows = list(rows_of(predictor, None, "validation"))
    assert [row["id"] for row in rows] == predictor.data.rows["validation"]["row_id"][:]
    assert not {"label", "labels", "tags", "answers", "target", "response", "relation"} & rows[0].keys()
    assert explained(predictor, rows[:1], "gradient_x_input", **({"label": "long"} if task == "emotions" else {}))


def test_batches_do_not_change_explanations(cases: Cases) -> None:
    predictor, rows = cases("sentiment")
    for method in ("integrated_gradients", "occlusion"):
        one, many = explained(predictor, rows, method, batch_size=1), explained(predictor, rows, method, batch_size=12)
        for a, b in zip(one, many, strict=True):
            assert a.attributions == pytest.approx(b.attributions, abs=1e-4)


def test_python_takes_rows_and_returns_plain_objects(cases: Cases) -> None:
    predictor, rows = cases("grades")
    found = explain(predictor, [{**rows[0], "id": "x"}, rows[1]], "occlusion")
    assert [one["id"] for one in found] == ["x", 1]
    assert found[0]["target"] == "score"
    assert found[0]["score"] == pytest.approx(predictor(rows[:1])[0]["prediction"], rel=1e-4)
    assert found[0]["words"][0].keys() == {"text", "column", "start", "end", "attribution"}
    with pytest.raises(UserError, match="row 2: expected a text or an object, got 5"):
        explain(predictor, [rows[0], 5], "occlusion")  # type: ignore[list-item]
    with pytest.raises(UserError, match="put a single one into a list"):
        explain(predictor, "one text")
    with pytest.raises(UserError, match="--label 'good': TextRegression predicts no labels; leave it out"):
        explain(predictor, rows, label="good")


def test_tasks_that_predict_no_answers_are_refused(tiny: Callable[[str], str], sentiment: str) -> None:
    import ftlit

    data = ftlit.CorpusData(dataset=sentiment, backbone=tiny("bert"), objective="masked")
    with pytest.raises(UserError, match=r"explain takes runs of TextClassification, .*; this is one of MaskedLM"):
        Explainer(untrained("MaskedLM", data), "occlusion")


def test_data_that_encode_rows_in_their_own_way_are_refused(cases: Cases) -> None:
    predictor, rows = cases("sentiment")

    class Reversed(type(predictor.data)):  # type: ignore[misc]
        def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return super().encode_inputs({name: [v[::-1] for v in values] for name, values in columns.items()})

    data = Reversed(**predictor.data.hparams)
    with pytest.raises(UserError, match="explain does not know which characters the tokens of Reversed come from"):
        explained(Predictor(predictor.model, data, "cpu"), rows[:2])
