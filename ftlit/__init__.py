"""ftlit: fine-tune pretrained language models with PyTorch Lightning."""

from typing import TYPE_CHECKING

from ftlit.util.lazy import lazy_attributes

if TYPE_CHECKING:
    from ftlit.commands.fit import fit as fit
    from ftlit.commands.update.command import update as update
    from ftlit.commands.update.soup import soup as soup
    from ftlit.data import ChatData as ChatData
    from ftlit.data import CorpusData as CorpusData
    from ftlit.data import LengthGrouped as LengthGrouped
    from ftlit.data import MultipleChoiceData as MultipleChoiceData
    from ftlit.data import QuestionAnsweringData as QuestionAnsweringData
    from ftlit.data import RandomDeletion as RandomDeletion
    from ftlit.data import RandomSwap as RandomSwap
    from ftlit.data import RelationExtractionData as RelationExtractionData
    from ftlit.data import Replay as Replay
    from ftlit.data import Seq2SeqData as Seq2SeqData
    from ftlit.data import Shuffled as Shuffled
    from ftlit.data import SynonymReplacement as SynonymReplacement
    from ftlit.data import TaskData as TaskData
    from ftlit.data import TextClassificationData as TextClassificationData
    from ftlit.data import TextRegressionData as TextRegressionData
    from ftlit.data import TokenBudget as TokenBudget
    from ftlit.data import TokenClassificationData as TokenClassificationData
    from ftlit.data import TokenMasking as TokenMasking
    from ftlit.data.batches.batching import Batching as Batching
    from ftlit.data.rows.augment import Augmentation as Augmentation
    from ftlit.diff.arms.frame import compare as compare
    from ftlit.diff.history import history as history
    from ftlit.exports.back_translation import BackTranslation as BackTranslation
    from ftlit.exports.compress.command import compress as compress
    from ftlit.exports.export import export as export
    from ftlit.exports.predict import load as load
    from ftlit.exports.predict import predict as predict
    from ftlit.exports.run import Run as Run
    from ftlit.exports.run import open_run as open_run
    from ftlit.heads import EncoderDecoderHead as EncoderDecoderHead
    from ftlit.heads import EntityHead as EntityHead
    from ftlit.heads import Head as Head
    from ftlit.heads import PooledHead as PooledHead
    from ftlit.heads import TaskHead as TaskHead
    from ftlit.insight.audit.frames import audit as audit
    from ftlit.insight.calibration.command import calibrate as calibrate
    from ftlit.insight.drift.command import drift as drift
    from ftlit.insight.errors.command import analyse_errors as analyse_errors
    from ftlit.insight.errors.confident import find_label_errors as find_label_errors
    from ftlit.insight.errors.slices.search import find_slices as find_slices
    from ftlit.insight.explain.explainer import explain as explain
    from ftlit.losses import BCE as BCE
    from ftlit.losses import MSE as MSE
    from ftlit.losses import CrossEntropy as CrossEntropy
    from ftlit.losses import Distillation as Distillation
    from ftlit.losses import Focal as Focal
    from ftlit.losses import Huber as Huber
    from ftlit.losses import Loss as Loss
    from ftlit.optimization.auxiliary import Auxiliary as Auxiliary
    from ftlit.optimization.auxiliary import CausalLMLoss as CausalLMLoss
    from ftlit.optimization.auxiliary import MaskedLMLoss as MaskedLMLoss
    from ftlit.optimization.keep import EWC as EWC
    from ftlit.optimization.keep import L2SP as L2SP
    from ftlit.optimization.keep import Keep as Keep
    from ftlit.tasks import CausalLM as CausalLM
    from ftlit.tasks import MaskedLM as MaskedLM
    from ftlit.tasks import MultipleChoice as MultipleChoice
    from ftlit.tasks import QuestionAnswering as QuestionAnswering
    from ftlit.tasks import RelationExtraction as RelationExtraction
    from ftlit.tasks import Seq2Seq as Seq2Seq
    from ftlit.tasks import TaskModule as TaskModule
    from ftlit.tasks import TextClassification as TextClassification
    from ftlit.tasks import TextRegression as TextRegression
    from ftlit.tasks import TokenClassification as TokenClassification
    from ftlit.tuning import IA3 as IA3
    from ftlit.tuning import AdaLoRA as AdaLoRA
    from ftlit.tuning import BitFit as BitFit
    from ftlit.tuning import BottleneckAdapter as BottleneckAdapter
    from ftlit.tuning import Combined as Combined
    from ftlit.tuning import Frozen as Frozen
    from ftlit.tuning import Full as Full
    from ftlit.tuning import GradualUnfreezing as GradualUnfreezing
    from ftlit.tuning import HeadFirst as HeadFirst
    from ftlit.tuning import LayerNormTuning as LayerNormTuning
    from ftlit.tuning import LoRA as LoRA
    from ftlit.tuning import Peft as Peft
    from ftlit.tuning import PrefixTuning as PrefixTuning
    from ftlit.tuning import PromptTuning as PromptTuning
    from ftlit.tuning import PTuning as PTuning
    from ftlit.tuning import QLoRA as QLoRA
    from ftlit.tuning import Select as Select
    from ftlit.tuning import TopLayers as TopLayers
    from ftlit.tuning import Tuning as Tuning

# Imported on first use, so that `ftlit --help` does not wait for torch.
_NAMES = {
    "ftlit.optimization.auxiliary": "Auxiliary CausalLMLoss MaskedLMLoss",
    "ftlit.commands.fit": "fit",
    "ftlit.commands.update.command": "update",
    "ftlit.commands.update.soup": "soup",
    "ftlit.data": """
        ChatData CorpusData LengthGrouped MultipleChoiceData QuestionAnsweringData RandomDeletion RandomSwap
        RelationExtractionData Replay Seq2SeqData Shuffled SynonymReplacement TaskData TextClassificationData
        TextRegressionData TokenBudget TokenClassificationData TokenMasking
    """,
    "ftlit.data.batches.batching": "Batching",
    "ftlit.data.rows.augment": "Augmentation",
    "ftlit.diff.arms.frame": "compare",
    "ftlit.diff.history": "history",
    "ftlit.exports.back_translation": "BackTranslation",
    "ftlit.exports.compress.command": "compress",
    "ftlit.exports.export": "export",
    "ftlit.exports.predict": "load predict",
    "ftlit.exports.run": "open_run Run",
    "ftlit.heads": "EncoderDecoderHead EntityHead Head PooledHead TaskHead",
    "ftlit.insight.calibration.command": "calibrate",
    "ftlit.insight.drift.command": "drift",
    "ftlit.insight.explain.explainer": "explain",
    "ftlit.insight.audit.frames": "audit",
    "ftlit.insight.errors.command": "analyse_errors",
    "ftlit.insight.errors.confident": "find_label_errors",
    "ftlit.insight.errors.slices.search": "find_slices",
    "ftlit.losses": "BCE CrossEntropy Distillation Focal Huber Loss MSE",
    "ftlit.optimization.keep": "EWC Keep L2SP",
    "ftlit.tasks": """
        CausalLM MaskedLM MultipleChoice QuestionAnswering RelationExtraction Seq2Seq TaskModule TextClassification
        TextRegression TokenClassification
    """,
    "ftlit.tuning": """
        AdaLoRA BitFit BottleneckAdapter Combined Frozen Full GradualUnfreezing HeadFirst IA3 LayerNormTuning LoRA Peft
        PrefixTuning PromptTuning PTuning QLoRA Select TopLayers Tuning
    """,
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_attributes(__name__, _MODULES)
