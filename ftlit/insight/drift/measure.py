"""All that a report of drift says, computed from a run and a file of new rows."""

from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ftlit.exports.predicting.predictor import Predictor
from ftlit.insight.drift.accuracy import Estimate, KnownShift, Scored, expected_accuracy, scored
from ftlit.insight.drift.comparison import (
    DISTANCE,
    DISTRIBUTION,
    MIX,
    SHARES,
    Distances,
    Kind,
    Measured,
    Pair,
    distances,
    embedding_test,
    script_shares,
    summary,
    text_tests,
    vocabulary,
)  # fmt: skip
from ftlit.insight.drift.known_shifts import Rewrite, known_shifts
from ftlit.insight.drift.permutation import ShiftTest, corrected, distribution_distance, mix_distance
from ftlit.insight.drift.prior import Prior, label_prior
from ftlit.insight.drift.samples import Row, Sample, labelled, new_rows, read_sample, record, split_rows
from ftlit.insight.drift.texts import Term
from ftlit.metrics.evidence.intervals import metric_intervals
from ftlit.metrics.evidence.kinds import EVIDENCE_KINDS, METRIC_SETTINGS
from ftlit.metrics.evidence.labels import is_right, members
from ftlit.runs.reading import RunFolder

if TYPE_CHECKING:
    from pandas import DataFrame

LABELLED = ("labels", "relations")  # kinds of evidence whose predictions are labels of a list


@dataclass(frozen=True)
class Settings:
    """How rows are compared.

    Args:
        reference: The split that the new rows are compared with.
        test: The test of the embeddings.
        limit: Number of rows of each sample.
        seed: Seed of all draws.
    """

    reference: str
    test: Kind
    limit: int
    seed: int


@dataclass
class Drift:
    """What changed between the reference and the new rows.

    Args:
        run: Name of the run.
        task: Name of its task.
        input: The file with the new rows.
        settings: How they were compared.
        rows: Number of rows compared, and of all rows, of ``train``, ``reference`` and ``new``.
        tests: The tests, with corrected p-values.
        summary: Lengths and shares of both samples.
        scripts: The share of each script.
        terms: Over- and under-represented ``words`` and ``tokens``.
        distances: Distances to the nearest row of train.
        points: The first two principal components of the states of the reference and the new rows, ``(rows, 2)``.
        lengths: Number of tokens of the rows of the reference and of the new ones.
        prior: Shares of the labels, if predictions are labels.
        held_out: The split whose labels were used, and the accuracy on it.
        shifts: Known shifts of its rows.
        accuracy: Estimates of the accuracy on the new rows.
        truth: The metrics on the new rows with their intervals, if they have right answers.
        left_out: Sentences on what does not apply.
    """

    run: str
    task: str
    input: str
    settings: Settings
    rows: dict[str, tuple[int, int]]
    tests: list[ShiftTest]
    summary: list[Measured]
    scripts: list[Measured]
    terms: dict[str, tuple[list[Term], list[Term]]]
    distances: Distances
    points: tuple[np.ndarray, np.ndarray]
    lengths: tuple[list[int], list[int]]
    prior: Prior | None = None
    held_out: tuple[str, float] | None = None
    shifts: list[KnownShift] = field(default_factory=list)
    accuracy: list[Estimate] = field(default_factory=list)
    truth: dict[str, tuple[float, list[float] | None]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def drifted(self) -> bool:
        """Whether at least one test finds a difference that is neither chance nor too small to count."""
        return any(test.differs for test in self.tests)

    @property
    def table(self) -> "DataFrame":
        """The tests as a data frame."""
        from pandas import DataFrame

        return DataFrame([test.record() for test in self.tests]).set_index("name")

    def record(self) -> dict[str, Any]:
        """The content of drift.json."""
        far = [vars(row) for row in self.distances.farthest]
        prior = self.prior and asdict(self.prior)
        terms = {kind: [vars(term) for term in chain(*both)] for kind, both in self.terms.items()}
        plain = {name: getattr(self, name) for name in ("run", "task", "input", "rows", "held_out", "truth", "left_out")}
        lists = {name: [vars(one) for one in getattr(self, name)] for name in ("summary", "scripts", "shifts", "accuracy")}
        tests = [test.record() for test in self.tests]
        unlike = {"share_beyond_reference": self.distances.share, "farthest": far}
        return {"drifted": self.drifted, "settings": vars(self.settings), **plain, "tests": tests, **lists, "terms": terms,
                "prior": prior, "unlike_train": unlike}  # fmt: skip


def measure(predictor: Predictor, run: RunFolder, input: str, settings: Settings) -> Drift:
    """Compare new rows with those of a run.

    Args:
        predictor: The run's model and data.
        run: The run's files.
        input: File with the new rows.
        settings: How to compare them.

    Raises:
        UserError: The file cannot be used, or the data set has no such split.
    """
    return _Measurement(predictor, run, input, settings).drift()


class _Measurement:
    """The samples and predictions of one report."""

    def __init__(self, predictor: Predictor, run: RunFolder, input: str, settings: Settings) -> None:
        self.predictor, self.run, self.input, self.settings = predictor, run, input, settings
        self.data, self.task = predictor.data, predictor.model
        self.kind, self.tokenizer = self.task.evidence, predictor.data.tokenizer
        self.left_out: list[str] = []
        self.several = bool(getattr(self.task, "multi_label", False))
        self.names: list[str] = getattr(self.task, "label_names", [])

    def drift(self) -> Drift:
        """Draw the samples, compare them, and estimate the accuracy."""
        pair = self._samples()
        tests = [*text_tests(pair, self.tokenizer), embedding_test(pair, self.settings.test)]
        first = len(pair.reference)
        found = Drift(
            self.run.folder.resolve().name, type(self.task).__name__, self.input, self.settings,
            {"train": _sizes(pair.known), "reference": _sizes(pair.reference), "new": _sizes(pair.new)},
            tests, summary(pair, self.tokenizer), script_shares(pair), vocabulary(pair, self.tokenizer), distances(pair),
            (pair.points[:first, :2], pair.points[first:, :2]), (_lengths(pair.reference), _lengths(pair.new)),
        )  # fmt: skip
        self._predictions(pair, found)
        found.tests = corrected(found.tests)
        found.left_out = [sentence for sentence in self.left_out if sentence]
        return found

    def _samples(self) -> Pair:
        """Rows of train, of the reference and of the file; rows of train as reference are others than those of train."""
        settings, data = self.settings, self.data
        fresh = new_rows(self.predictor, self.input, settings.limit, settings.seed)
        if settings.reference == "train":
            rows, total = split_rows(data, "train", 2 * settings.limit, settings.seed)
            known, reference = (rows[::2], total), (rows[1::2], total)
        else:
            known = split_rows(data, "train", settings.limit, settings.seed)
            reference = split_rows(data, settings.reference, settings.limit, settings.seed)
        return Pair(self._read(*known), self._read(*reference), self._read(*fresh), settings.seed)

    def _read(self, rows: list[Row], total: int) -> Sample:
        return read_sample(self.predictor, rows, total)

    # Predictions

    def _predictions(self, pair: Pair, found: Drift) -> None:
        """Add what follows from predictions."""
        records, why = labelled(self.data, pair.new.rows)
        self.left_out.append(why)
        if self.kind in LABELLED:
            self._labels(pair, found, records)
            return
        name = type(self.task).__name__
        self.left_out.append(
            f"{name} does not label whole texts: predicted labels, their shares and the expected accuracy are left out."
        )
        if self.predictor.generates:
            self.left_out.append(f"{name} writes texts, which takes long, so no metric is computed.")
            return
        if self.kind == "values":
            both = [self._answers(sample) for sample in (pair.reference, pair.new)]
            values = np.array([row["prediction"] for row in chain(*both)])
            found.tests.append(pair.test("predicted values", DISTANCE, DISTRIBUTION, distribution_distance(values)))
        if records:
            found.truth = self._truth(self._answers(pair.new), records)

    def _answers(self, sample: Sample) -> list[Row]:
        return self.predictor.answers(sample.encoded, scores=True)

    def _truth(self, predictions: list[Row], records: list[Row]) -> dict[str, tuple[float, list[float] | None]]:
        """The metric that chose the checkpoint, and the accuracy, with their intervals."""
        kind = EVIDENCE_KINDS.get(self.kind or "")
        rows = [{**record, **row} for record, row in zip(records, predictions, strict=True)]
        settings = {key: self.task.hparams.get(key) for key in METRIC_SETTINGS}
        metrics = dict.fromkeys([str(self.run.record.get("monitor", "")).removeprefix("val/"), "accuracy"])
        counted = {name: kind.count(name, [rows], settings) for name in metrics} if kind else {}
        values = {name: float(sums.score(sums.counts[0].sum(0))) for name, sums in counted.items() if sums is not None}
        ends = metric_intervals(self.kind, values, rows, settings)
        return {name: (value, ends.get(name)) for name, value in values.items()}

    def _labels(self, pair: Pair, found: Drift, records: list[Row]) -> None:
        """Add predicted labels, the shares of labels, and the expected accuracy."""
        new = self._answers(pair.new)
        held_out = pair.reference
        split = self.settings.reference
        if split == "train":  # on whose rows the model is better than on others
            split = "validation"
            held_out = self._read(*split_rows(self.data, split, self.settings.limit, self.settings.seed))
        known = self._answers(held_out)
        reference = known if held_out is pair.reference else self._answers(pair.reference)
        said = [members([rows], "prediction", self.names)[0] for rows in (reference, new)]
        found.tests.append(pair.test("predicted labels", SHARES, MIX, mix_distance(np.concatenate(said))))
        rows = [{**record(self.data, given), **row} for row, given in zip(known, held_out.rows, strict=True)]
        self._estimates(found, held_out, rows, new, split)
        if records:
            found.truth = self._truth(new, records)

    def _estimates(self, found: Drift, held_out: Sample, rows: list[Row], new: list[Row], split: str) -> None:
        """Add what is estimated from rows with labels."""
        predicted, true = (members([rows], key, self.names)[0] for key in ("prediction", "label"))
        said = members([new], "prediction", self.names)[0]
        found.prior = label_prior(self.names, predicted, true, said, self.several, split)
        self.left_out.append(found.prior.problem)
        source = self._scored(rows, with_labels=True)
        rewrite = partial(self._rewritten, held_out, rows) if self.kind == "labels" else None
        classes = [_name(row["label"]) for row in rows]
        found.held_out = split, source.accuracy
        found.shifts = known_shifts(source, classes, rewrite, self.settings.seed)
        found.accuracy = expected_accuracy(source, self._scored(new, with_labels=False), found.shifts)

    def _scored(self, rows: list[Row], with_labels: bool) -> Scored:
        scores = np.array([[row["scores"][name] for name in self.names] for row in rows])
        return scored(scores, [is_right(row) for row in rows] if with_labels else [], self.several)

    def _rewritten(self, held_out: Sample, answers: list[Row], rewrite: Rewrite, places: np.ndarray) -> Scored:
        """Some rows of a sample with rewritten texts, whose labels stay."""
        rng = np.random.default_rng(self.settings.seed)
        columns = self.data.input_columns().values()
        texts = {name: rewrite([held_out.rows[i][name] for i in places], rng) for name in columns}
        rows = [{**held_out.rows[i], **{name: texts[name][n] for name in columns}} for n, i in enumerate(places)]
        found = self.predictor.predictions(rows, self.predictor.sizes(), scores=True)
        known = [{**answers[i], **row} for i, row in zip(places, found, strict=True)]
        return self._scored(known, with_labels=True)


def _sizes(sample: Sample) -> tuple[int, int]:
    return len(sample), sample.total


def _lengths(sample: Sample) -> list[int]:
    return [len(row) for row in sample.tokens]


def _name(label: Any) -> str:
    return ", ".join(label) if isinstance(label, list) else str(label)
