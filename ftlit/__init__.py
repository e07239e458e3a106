"""ftlit: fine-tune pretrained language models with PyTorch Lightning."""

from ftlit.util.lazy import lazy_attributes

# Imported where they are first used, so that `ftlit --help` does not wait for torch. Type checkers read __init__.pyi.
_NAMES = {
    "ftlit.auxiliary": "Auxiliary CausalLMLoss MaskedLMLoss",
    "ftlit.commands.fit": "fit",
    "ftlit.data": """
        ChatData CorpusData LengthGrouped MultipleChoiceData QuestionAnsweringData RandomDeletion RandomSwap
        RelationExtractionData Seq2SeqData Shuffled SynonymReplacement TaskData TextClassificationData
        TextRegressionData TokenBudget TokenClassificationData TokenMasking
    """,
    "ftlit.data.batches.batching": "Batching",
    "ftlit.data.rows.augment": "Augmentation",
    "ftlit.exports.back_translation": "BackTranslation",
    "ftlit.exports.export": "export",
    "ftlit.exports.predict": "load predict",
    "ftlit.exports.run": "open_run Run",
    "ftlit.heads": "EntityHead Head JoinedHead PooledHead TaskHead",
    "ftlit.losses": "BCE CrossEntropy Focal Huber Loss MSE",
    "ftlit.tasks": """
        CausalLM MaskedLM MultipleChoice QuestionAnswering RelationExtraction Seq2Seq TaskModule TextClassification
        TextRegression TokenClassification
    """,
    "ftlit.tuning": """
        AdaLoRA BitFit Both BottleneckAdapter Frozen Full GradualUnfreezing HeadFirst IA3 LayerNormTuning LoRA Peft
        PrefixTuning PromptTuning PTuning QLoRA Select TopLayers Tuning
    """,
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_attributes(__name__, _MODULES)
