"""Data modules: where rows come from, and how they become batches."""

from importlib import import_module

from ftlit.util.lazy import lazy_attributes

# Imported when they are first used, so that a part of the package can be imported alone. Type checkers read __init__.pyi.
_MODULES = {
    "ChatData": "ftlit.data.chat",
    "CorpusData": "ftlit.data.corpus",
    "LengthGrouped": "ftlit.data.batches.batching",
    "MultipleChoiceData": "ftlit.data.multiple_choice",
    "QuestionAnsweringData": "ftlit.data.question_answering",
    "RandomDeletion": "ftlit.data.rows.augment",
    "RandomSwap": "ftlit.data.rows.augment",
    "RelationExtractionData": "ftlit.data.relation_extraction",
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
