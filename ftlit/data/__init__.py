"""Data modules: load rows, encode them, and make batches."""

from importlib import import_module
from typing import TYPE_CHECKING

from ftlit.util.lazy import lazy_attributes

if TYPE_CHECKING:
    from ftlit.data.batches.batching import LengthGrouped as LengthGrouped
    from ftlit.data.batches.batching import Shuffled as Shuffled
    from ftlit.data.batches.batching import TokenBudget as TokenBudget
    from ftlit.data.chat import ChatData as ChatData
    from ftlit.data.corpus import CorpusData as CorpusData
    from ftlit.data.multiple_choice import MultipleChoiceData as MultipleChoiceData
    from ftlit.data.question_answering import QuestionAnsweringData as QuestionAnsweringData
    from ftlit.data.relation_extraction import RelationExtractionData as RelationExtractionData
    from ftlit.data.replay.mixture import Replay as Replay
    from ftlit.data.rows.augment import RandomDeletion as RandomDeletion
    from ftlit.data.rows.augment import RandomSwap as RandomSwap
    from ftlit.data.rows.augment import SynonymReplacement as SynonymReplacement
    from ftlit.data.rows.augment import TokenMasking as TokenMasking
    from ftlit.data.seq2seq import Seq2SeqData as Seq2SeqData
    from ftlit.data.shared.base import TaskData as TaskData
    from ftlit.data.text_classification import TextClassificationData as TextClassificationData
    from ftlit.data.text_regression import TextRegressionData as TextRegressionData
    from ftlit.data.token_classification import TokenClassificationData as TokenClassificationData

# Imported when they are first used, so that a part of the package can be imported alone.
_MODULES = {
    "ChatData": "ftlit.data.chat",
    "CorpusData": "ftlit.data.corpus",
    "LengthGrouped": "ftlit.data.batches.batching",
    "MultipleChoiceData": "ftlit.data.multiple_choice",
    "QuestionAnsweringData": "ftlit.data.question_answering",
    "RandomDeletion": "ftlit.data.rows.augment",
    "RandomSwap": "ftlit.data.rows.augment",
    "RelationExtractionData": "ftlit.data.relation_extraction",
    "Replay": "ftlit.data.replay.mixture",
    "Seq2SeqData": "ftlit.data.seq2seq",
    "Shuffled": "ftlit.data.batches.batching",
    "SynonymReplacement": "ftlit.data.rows.augment",
    "TaskData": "ftlit.data.shared.base",
    "TextClassificationData": "ftlit.data.text_classification",
    "TextRegressionData": "ftlit.data.text_regression",
    "TokenBudget": "ftlit.data.batches.batching",
    "TokenClassificationData": "ftlit.data.token_classification",
    "TokenMasking": "ftlit.data.rows.augment",
}
__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_attributes(__name__, _MODULES)


def import_all() -> None:
    """Import all classes of this package, so that the command line finds them by their short names."""
    for module in _MODULES.values():
        import_module(module)
