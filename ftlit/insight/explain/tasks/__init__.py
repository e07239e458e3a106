"""What is explained of the predictions of each task."""

from ftlit.errors import UserError
from ftlit.exports.predicting.predictor import Predictor
from ftlit.exports.predicting.sizes import Sizes
from ftlit.insight.explain.tasks.base import View
from ftlit.insight.explain.tasks.labels import ChoiceView, LabelView, NumberView, RelationView
from ftlit.insight.explain.tasks.spans import AnswerView, TagView
from ftlit.insight.explain.tasks.written import ReplyView, TargetView
from ftlit.tasks import (
    CausalLM,
    MultipleChoice,
    QuestionAnswering,
    RelationExtraction,
    Seq2Seq,
    TaskModule,
    TextClassification,
    TextRegression,
    TokenClassification,
)

VIEWS: dict[type[TaskModule], type[View]] = {
    TextClassification: LabelView,
    RelationExtraction: RelationView,
    TextRegression: NumberView,
    MultipleChoice: ChoiceView,
    TokenClassification: TagView,
    QuestionAnswering: AnswerView,
    CausalLM: ReplyView,
    Seq2Seq: TargetView,
}


def view_of(predictor: Predictor, label: str | None, sizes: Sizes) -> View:
    """Return how the predictions of a run are explained.

    Args:
        predictor: The run.
        label: The label that is explained, or None for what is predicted.
        sizes: How rows are cut into batches to predict for them.

    Raises:
        UserError: Those of this task are not, or it does not have the label.
    """
    for task, view in VIEWS.items():
        if isinstance(predictor.model, task):
            return view(predictor, label, sizes)
    known = ", ".join(task.__name__ for task in VIEWS)
    raise UserError(f"explain takes runs of {known}; this is one of {type(predictor.model).__name__}")
