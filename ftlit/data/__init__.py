"""Data modules: where rows come from and how they become batches."""

from ftlit.data.augment import BackTranslation, RandomDeletion, RandomSwap, SynonymReplacement, TokenMasking
from ftlit.data.base import TaskData
from ftlit.data.batching import LengthGrouped, Shuffled, TokenBudget
from ftlit.data.text_classification import TextClassificationData
from ftlit.data.text_regression import TextRegressionData

__all__ = [
    "BackTranslation",
    "LengthGrouped",
    "RandomDeletion",
    "RandomSwap",
    "Shuffled",
    "SynonymReplacement",
    "TaskData",
    "TextClassificationData",
    "TextRegressionData",
    "TokenBudget",
    "TokenMasking",
]
