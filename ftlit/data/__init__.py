"""Data modules: where rows come from and how they become batches."""

from ftlit.data.batches.batching import LengthGrouped, Shuffled, TokenBudget
from ftlit.data.chat import ChatData
from ftlit.data.corpus import CorpusData
from ftlit.data.multiple_choice import MultipleChoiceData
from ftlit.data.question_answering import QuestionAnsweringData
from ftlit.data.relation_extraction import RelationExtractionData
from ftlit.data.rows.augment import RandomDeletion, RandomSwap, SynonymReplacement, TokenMasking
from ftlit.data.seq2seq import Seq2SeqData
from ftlit.data.shared.base import TaskData
from ftlit.data.text_classification import TextClassificationData
from ftlit.data.text_regression import TextRegressionData
from ftlit.data.token_classification import TokenClassificationData

__all__ = [
    "ChatData",
    "CorpusData",
    "LengthGrouped",
    "MultipleChoiceData",
    "QuestionAnsweringData",
    "RandomDeletion",
    "RandomSwap",
    "RelationExtractionData",
    "Seq2SeqData",
    "Shuffled",
    "SynonymReplacement",
    "TaskData",
    "TextClassificationData",
    "TextRegressionData",
    "TokenBudget",
    "TokenClassificationData",
    "TokenMasking",
]
