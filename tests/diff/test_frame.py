"""`ftlit.compare`: predictions of any tool in a data frame, with the statistics of studies."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar

import ftlit
from ftlit.errors import UserError
from ftlit.study.statistics.compare import analyse
from ftlit.study.statistics.runs import Evidence

EXAMPLES = 60


def predictions(arms: dict[str, float], seeds: int = 4, classes: str = "ab") -> pd.DataFrame:
    """Predictions of which about these shares are right."""
    labels = np.random.default_rng(99).choice(list(classes), EXAMPLES)
    rows = []
    for place, (arm, share) in enumerate(arms.items()):
        for seed in range(seeds):
            rng = np.random.default_rng(100 * place + seed)
            said = np.where(rng.random(EXAMPLES) < share, labels, rng.choice(list(classes), EXAMPLES))
            rows += [(arm, seed, i, labels[i], said[i]) for i in range(EXAMPLES)]
    return pd.DataFrame(rows, columns=["arm", "seed", "id", "label", "prediction"])


def right(frame: pd.DataFrame, arm: str) -> np.ndarray:
    """Which predictions of an arm are right, ``(seeds, examples)``."""
    rows = frame[frame["arm"] == arm].sort_values(["seed", "id"])
    return (rows["label"] == rows["prediction"]).to_numpy(dtype=float).reshape(-1, EXAMPLES)


def share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def test_the_numbers_are_those_of_the_statistics() -> None:
    frame = predictions({"x": 0.2, "y": 0.5, "z": 0.9})
    found = ftlit.compare(frame.sample(frac=1, random_state=0).sort_values("arm", kind="stable"), margin=0.1)
    assert list(found.columns) == [
        "arm", "other", "difference", "low", "high", "p", "p_adjusted", "different", "equivalent", "seeds"
    ]  # fmt: skip
    hits = {arm: right(frame, arm) for arm in "xyz"}
    evidence = {arm: Evidence(np.stack([one, np.ones_like(one)], -1), share) for arm, one in hits.items()}
    pairs = [("x", "y"), ("x", "z"), ("y", "z")]
    expected = analyse(evidence, [pairs], margin=0.1, bounds=(0, 1)).comparisons
    for (_, row), one in zip(found.iterrows(), expected, strict=True):
        assert (row["arm"], row["other"], row["seeds"]) == (one.arm, one.other, 4)
        for name in ("difference", "low", "high", "p", "p_adjusted"):
            assert row[name] == pytest.approx(getattr(one, name), rel=1e-9), name
        assert (row["different"], row["equivalent"]) == (one.different, one.equivalent)
        assert row["difference"] == pytest.approx(hits[one.arm].mean() - hits[one.other].mean())
    assert bool(found["different"].iloc[1])


def test_the_baseline_is_subtracted() -> None:
    found = ftlit.compare(predictions({"x": 0.2, "y": 0.5, "z": 0.9}), baseline="y")
    assert list(zip(found["arm"], found["other"], strict=True)) == [("x", "y"), ("z", "y")]
    assert found["difference"].iloc[0] < 0 < found["difference"].iloc[1]
    assert found["equivalent"].tolist() == [None, None]
    (pair,) = ftlit.compare(predictions({"x": 0.2, "y": 0.5, "z": 0.9}), pairs=[("z", "x")]).itertuples()
    assert (pair.arm, pair.other, pair.p) == ("z", "x", pair.p_adjusted)


def test_what_seeds_share_cancels_in_whichever_order_they_come() -> None:
    shares = [0.1, 0.5, 0.9, 0.3]
    parts = [
        predictions({"x": share, "y": share + 0.05, "z": share}, seeds=1).assign(seed=f"s{i}") for i, share in enumerate(shares)
    ]
    frame = pd.concat(parts).sort_values("arm", kind="stable")
    mixed = pd.concat([frame[frame["arm"] == "x"], frame[frame["arm"] != "x"][::-1].sort_values("arm", kind="stable")])
    found = ftlit.compare(frame)
    pd.testing.assert_frame_equal(ftlit.compare(mixed), found)
    assert (found["high"] - found["low"]).max() < 0.4


def test_one_seed_compares_models_by_mcnemar() -> None:
    frame = predictions({"x": 0.4, "y": 0.9}, seeds=1)
    found = ftlit.compare(frame).iloc[0]
    one, other = (right(frame, arm)[0].astype(int) for arm in "xy")
    table = np.histogram2d(one, other, bins=2)[0]
    assert found["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
    lost, won = table[0, 1], table[1, 0]
    assert found["p"] == pytest.approx(stats.binomtest(int(won), int(won + lost)).pvalue)
    assert (found["seeds"], bool(found["different"])) == (1, True)


def test_two_seeds_claim_nothing() -> None:
    found = ftlit.compare(predictions({"x": 0.0, "y": 1.0}, seeds=2)).iloc[0]
    assert (found["seeds"], bool(found["different"])) == (2, False)


def test_averages_over_classes() -> None:
    frame = predictions({"x": 0.3, "y": 0.9}, classes="abc")
    for metric, average in (("f1_macro", "macro"), ("f1_micro", "micro"), ("f1_weighted", "weighted")):
        means = {
            arm: np.mean([f1_score(run["label"], run["prediction"], average=average) for _, run in rows.groupby("seed")])
            for arm, rows in frame.groupby("arm")
        }
        assert ftlit.compare(frame, metric=metric)["difference"].iloc[0] == pytest.approx(means["x"] - means["y"])


def test_several_labels_of_a_text_are_a_set() -> None:
    frame = predictions({"x": 0.3, "y": 0.9})
    several = frame.assign(
        label=frame["label"].map(lambda one: ("q", one)), prediction=frame["prediction"].map(lambda one: {one, "q"})
    )
    pd.testing.assert_frame_equal(ftlit.compare(several), ftlit.compare(frame))


def test_numbers() -> None:
    frame = predictions({"x": 0.3, "y": 0.9})
    rng = np.random.default_rng(0)
    noise = np.where(frame["arm"] == "x", 0.5, 0.1) * rng.normal(size=len(frame))
    frame = frame.assign(label=frame["id"] / 10.0, prediction=frame["id"] / 10.0 + noise)
    found = ftlit.compare(frame, metric="mae").iloc[0]
    assert found["difference"] == pytest.approx(abs(noise[frame["arm"] == "x"]).mean() - abs(noise[frame["arm"] == "y"]).mean())
    means = {
        arm: np.mean([stats.pearsonr(run["label"], run["prediction"]).statistic for _, run in rows.groupby("seed")])
        for arm, rows in frame.groupby("arm")
    }
    assert ftlit.compare(frame, metric="pearson")["difference"].iloc[0] == pytest.approx(means["x"] - means["y"])


def test_examples_of_one_group_are_not_independent() -> None:
    frame = predictions({"x": 0.6, "y": 0.7}, seeds=1)
    often = pd.concat([frame.assign(id=frame["id"].map(lambda i: f"{i}-{copy}"), group=frame["id"]) for copy in range(9)])  # noqa: B023
    one, grouped, independent = (ftlit.compare(f).iloc[0] for f in (frame, often, often.drop(columns="group")))
    assert (grouped["low"], grouped["high"]) == pytest.approx((one["low"], one["high"]))
    assert independent["high"] - independent["low"] < 0.5 * (one["high"] - one["low"])


def changed(column: str, place: int, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[place, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda f: f.drop(columns="seed"),
            {},
            "the data frame has no column 'seed'; expected arm, seed, id, label, prediction",
        ),
        (lambda f: f[:0], {}, "the data frame has no rows"),
        (lambda f: f.to_dict(), {}, "expects a data frame of pandas, got dict"),
        (
            changed("prediction", 3, None),
            {},
            "the column 'prediction' has no value in row 3 of the data frame, and 1 are missing",
        ),
        (
            lambda f: f.assign(group=f["id"].where(f["id"] != 7)),
            {},
            "the column 'group' has no value in row 7 .*and 8 are missing",
        ),
        (changed("id", 4, 3), {}, "the id 3 has two rows in the arm 'x' with seed 0; expected one"),
        (lambda f: f[:-1], {}, "the id 59 is in the arm 'x' with seed 0, but not in the arm 'y' with seed 3; only"),
        (changed("id", EXAMPLES, 77), {}, "the id 0 is in the arm 'x' with seed 0, but not in the arm 'x' with seed 1"),
        (
            changed("label", EXAMPLES + 2, "q"),
            {},
            "the id 2 has the label 'b' in the arm 'x' with seed 0, and 'q' in the arm 'x'",
        ),
        (lambda f: f.assign(group=range(len(f))), {}, "the id 0 has the group 0 in the arm 'x' with seed 0, and 60 in"),
        (lambda f: f.assign(label=1), {}, "written in the same way, but the first label is the number 1, .* has the text '"),
        (lambda f: f[f["arm"] == "x"], {}, "needs at least two arms, got only 'x'"),
        (lambda f: f, {"metric": "acuracy"}, "has no metric 'acuracy'. Did you mean 'accuracy'?"),
        (lambda f: f, {"metric": "mse"}, "the metric needs numbers, but the column 'label' has '"),
        (lambda f: f, {"baseline": "w"}, "the baseline 'w' is not an arm; the arms are 'x', 'y'"),
        (lambda f: f, {"pairs": [["x", "w"]]}, "pairs names 'w', which is not an arm"),
        (lambda f: f, {"pairs": "some"}, "pairs should be baseline, all or a list of pairs of arms, got 'some'"),
        (lambda f: f, {"margin": 1.5}, "margin should be above 0 and below 1, the range of accuracy, got 1.5"),
        (lambda f: f, {"margin": "wide"}, "margin should be a number or null, got 'wide'"),
        (lambda f: f, {"level": 5}, "level should be between 0 and 1, got 5"),
    ],
)
def test_frames_and_arguments_that_do_not_fit(
    change: Callable[[pd.DataFrame], Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        ftlit.compare(change(predictions({"x": 0.3, "y": 0.9})), **options)


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftlit.study.command.find_spec", lambda name: None)
    with pytest.raises(UserError, match="the comparison of arms needs SciPy; install it with"):
        ftlit.compare(predictions({"x": 0.3, "y": 0.9}))
