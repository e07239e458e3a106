from ftlit.data.batches.batching import LengthGrouped as LengthGrouped
from ftlit.data.batches.batching import Shuffled as Shuffled
from ftlit.data.batches.batching import TokenBudget as TokenBudget
from ftlit.data.chat import ChatData as ChatData
from ftlit.data.corpus import CorpusData as CorpusData
from ftlit.data.multiple_choice import MultipleChoiceData as MultipleChoiceData
from ftlit.data.question_answering import QuestionAnsweringData as QuestionAnsweringData
from ftlit.data.relation_extraction import RelationExtractionData as RelationExtractionData
from ftlit.data.rows.augment import RandomDeletion as RandomDeletion
from ftlit.data.rows.augment import RandomSwap as RandomSwap
from ftlit.data.rows.augment import SynonymReplacement as SynonymReplacement
from ftlit.data.rows.augment import TokenMasking as TokenMasking
from ftlit.data.seq2seq import Seq2SeqData as Seq2SeqData
from ftlit.data.shared.base import TaskData as TaskData
from ftlit.data.text_classification import TextClassificationData as TextClassificationData
from ftlit.data.text_regression import TextRegressionData as TextRegressionData
from ftlit.data.token_classification import TokenClassificationData as TokenClassificationData

def import_all() -> None: ...
