"""The tasks: the model, loss and metrics of each."""

from ftlit.tasks.causal_lm import CausalLM
from ftlit.tasks.masked_lm import MaskedLM
from ftlit.tasks.multiple_choice import MultipleChoice
from ftlit.tasks.question_answering import QuestionAnswering
from ftlit.tasks.relation_extraction import RelationExtraction
from ftlit.tasks.seq2seq import Seq2Seq
from ftlit.tasks.shared.base import TaskModule
from ftlit.tasks.shared.evaluator import Evaluator, Outputs
from ftlit.tasks.shared.labelled import LabelledTask
from ftlit.tasks.shared.language_model import LanguageModel
from ftlit.tasks.text_classification import TextClassification
from ftlit.tasks.text_regression import TextRegression
from ftlit.tasks.token_classification import TokenClassification

__all__ = [
    "CausalLM",
    "Evaluator",
    "LabelledTask",
    "LanguageModel",
    "MaskedLM",
    "MultipleChoice",
    "Outputs",
    "QuestionAnswering",
    "RelationExtraction",
    "Seq2Seq",
    "TaskModule",
    "TextClassification",
    "TextRegression",
    "TokenClassification",
]
