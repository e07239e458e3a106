"""A server gives the answers of `predict` for every task, whatever shares the batch, and describes what it takes."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

import ftlit
from ftlit.exports.output.parquet import write_parquet
from tests.support.served_tasks import TASKS, Case
from tests.support.serving import Served, run, serving


def close(found: Any, expected: Any) -> bool:
    """Whether two answers are the same, with numbers that differ by no more than 1e-5."""
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=1e-5)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return bool(found == expected)


@pytest.mark.parametrize("task", TASKS)
def test_the_answers_are_those_of_predict(task: str, cases: Callable[[str], Case]) -> None:
    predictor, rows = cases(task)
    expected = predictor(rows, scores=True)
    with serving(predictor) as server:
        found = server.predict({"rows": rows, "scores": True})
        assert found.status_code == 200, found.text
        assert close(found.json(), {"predictions": expected})
        [first] = predictor(rows[:1])
        assert close(server.predict(rows[0]).json(), first)
        assert close(server.predict(rows[:1]).json(), [first])


@pytest.mark.parametrize("task", ["sentiment", "tags", "answers", "questions"])
def test_they_do_not_depend_on_what_shares_the_batch(task: str, cases: Callable[[str], Case]) -> None:
    predictor, rows = cases(task)
    expected = [predictor([row], scores=True)[0] for row in rows]
    order = random.Random(0).choices(range(len(rows)), k=60)

    async def at_once(server: Served) -> list[httpx.Response]:
        async with server.client() as client:
            return await asyncio.gather(*(client.post("/predict?scores=true", json=rows[i]) for i in order))

    with serving(predictor, batch_tokens=200) as server:
        found = run(at_once(server))
        assert server.counted('ftlit_rows_total{model="model",result="answered"}') == 60
        assert server.counted('ftlit_batch_rows_count{model="model"}') < 60
    assert all(close(response.json(), expected[i]) for i, response in zip(order, found, strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_the_schema_describes_the_rows(task: str, cases: Callable[[str], Case]) -> None:
    predictor, rows = cases(task)
    with serving(predictor) as server:
        schema = server.ask("GET", "/schema").json()
        document = server.ask("GET", "/openapi.json").json()
    data = predictor.data
    assert {*schema["columns"]} == {*(data.input_columns() | data.optional_columns()).values()}
    assert schema["required"] == list(data.input_columns().values())
    assert schema["task"] == type(predictor.model).__name__
    assert schema["plain_text"] is any(isinstance(row, str) for row in rows) or task == "tags"
    described = document["components"]["schemas"]["model.row"]
    kept = described["anyOf"][0] if schema["plain_text"] else described
    for row in (row for row in rows if isinstance(row, dict)):
        assert all(fits(row[name], kept["properties"][name]) for name in kept["required"])


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value has the form of a schema, as far as these tests need it."""
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    if schema["type"] == "array":
        return isinstance(value, list) and all(fits(part, schema["items"]) for part in value)
    if schema["type"] == "object":
        needed = schema.get("required", [])
        return isinstance(value, dict) and all(fits(value.get(key), schema["properties"][key]) for key in needed)
    return isinstance(value, {"string": str, "integer": int}[schema["type"]])


def test_several_models_have_names(cases: Callable[[str], Case]) -> None:
    (sentiment, texts), (tags, words) = cases("sentiment"), cases("tags")
    with serving({"a": sentiment, "b": tags}) as server:
        listed = server.ask("GET", "/models").json()["models"]
        assert listed == [{"model": "a", "task": "TextClassification"}, {"model": "b", "task": "TokenClassification"}]
        assert close(server.predict(texts[0], "/models/a/predict").json(), sentiment(texts[:1])[0])
        assert close(server.predict(words[0], "/predict?model=b").json(), tags(words[:1])[0])
        assert server.ask("GET", "/models/b/schema").json()["labels"] == tags.model.label_names
        unnamed, unknown = server.predict(texts[0]), server.predict(texts[0], "/predict?model=c")
        assert (unnamed.status_code, unnamed.json()["models"]) == (400, ["a", "b"])
        assert unnamed.json()["detail"] == "this server has 2 models; name one of them: a, b"
        assert unknown.status_code == 404
        paths = server.ask("GET", "/openapi.json").json()["paths"]
        assert {"/models/a/predict", "/models/b/predict", "/predict"} <= paths.keys()


def test_another_model_takes_its_place(cases: Callable[[str], Case], tmp_path: Path) -> None:
    """A newer run answers from then on, whatever is asked meanwhile; one that cannot be opened changes nothing."""
    first, second = cases("sentiment")[0], cases("emotions")[0]
    with serving({"model": first}) as server:
        model = server.models["model"]
        model._load = lambda path: second
        model.reload()
        assert model.predictor is first  # the folder has not changed
        model.reload(again=True)
        assert close(server.predict("good word1").json(), second(["good word1"])[0])
        model._load = lambda path: ftlit.load(tmp_path)
        model.reload(again=True)
        assert server.predict("good word1").status_code == 200
        assert server.counted('ftlit_reloads_total{model="model",result="failed"}') == 1
        assert server.counted('ftlit_reloads_total{model="model",result="taken"}') == 1


@pytest.mark.parametrize("task", TASKS)
def test_the_columns_of_a_parquet_file_fit_the_answers(task: str, cases: Callable[[str], Case], tmp_path: Path) -> None:
    predictor, rows = cases(task)
    found, types = predictor(rows, scores=True), predictor.model.prediction_types()
    assert {*types} == {name for answer in found for name in answer} - {"id", "truncated"}
    write_parquet(lambda: iter(found), tmp_path / "a.parquet", types)
    expected = [{"truncated": False, **answer} for answer in found]
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == expected
