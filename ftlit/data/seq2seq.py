"""Sources and targets of sequence-to-sequence models: translation, summarization, generative question answering."""

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ftlit.data.batches.collate import PADDING
from ftlit.data.rows.columns import as_rows
from ftlit.data.rows.rows import text_problem
from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import tokenize, tokenizer_state
from ftlit.errors import UserError, near
from ftlit.models.encoder_decoder import decoder_limit, decoder_tokenizer, target_ids
from ftlit.models.generation import as_generated
from ftlit.util.batch import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TARGET_DEFAULT = 128


class Seq2SeqData(TaskData):
    """Rows with a source text, an optional context, and one or several right target texts.

    Args:
        source: Column of the source.
        target: Column of the target: a text, or a list of texts, the first of which is trained on; all are used as references.
            Or a list of columns with one reference each, of which all but the first may be empty.
        context: Column of a second text after the source, such as the passage of a question.
        prefix: Text before every source, such as `summarize: ` for T5, including its space.
        max_target_length: Number of tokens after which a target is truncated; by default the model's limit, at most 128.
        source_language: Language of the sources for a multilingual tokenizer, such as `deu_Latn` for NLLB.
        target_language: Language of the targets for a multilingual tokenizer; set `model.generation.forced_bos_token` too.
        keep_special_tokens: Taken from the model: whether texts keep their special tokens.
        decoder: Taken from the model: its tokenizer is used for the targets if the decoder is another model.
    """

    padding: ClassVar[dict[str, int]] = {**PADDING, "labels": IGNORED}
    metadata: ClassVar[tuple[str, ...]] = ("reference",)

    def __init__(
        self,
        source: str = "source",
        target: str | list[str] = "target",
        context: str | None = None,
        prefix: str = "",
        max_target_length: int | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        decoder: str | None = None,
        keep_special_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.target, self.context, self.prefix = source, target, context, prefix
        self.languages = {"source_language": source_language, "target_language": target_language}
        self.decoder, self.keep_special_tokens = decoder, keep_special_tokens
        if not target:
            raise UserError("data.target names no column")
        self.max_target_length = self._checked_target_length(max_target_length)

    def _checked_target_length(self, wanted: int | None) -> int:
        limit = decoder_limit(self.backbone, self.decoder, self.trust_remote_code)
        if wanted is not None and wanted < 2:
            raise UserError(f"data.max_target_length must be at least 2, a token and the end, got {wanted}")
        if wanted is not None and limit is not None and wanted > limit:
            raise UserError(
                f"data.max_target_length is {wanted}, but {self.decoder or self.backbone!r} writes at most {limit} tokens"
            )
        return wanted or min(limit or TARGET_DEFAULT, TARGET_DEFAULT)

    def input_columns(self) -> dict[str, str]:
        return {"source": self.source} | ({"context": self.context} if self.context else {})

    def columns(self) -> dict[str, str]:
        if isinstance(self.target, str):
            return {**self.input_columns(), "target": self.target}
        return {**self.input_columns(), **{f"target[{i}]": column for i, column in enumerate(self.target)}}

    def references(self, row: dict[str, Any]) -> list[Any]:
        """The right targets of a row, the first of which is trained on."""
        if isinstance(self.target, str):
            return row[self.target] if isinstance(row[self.target], list) else [row[self.target]]
        first, *others = (row[column] for column in self.target)
        return [first, *(text for text in others if text is not None and text != "")]

    def validate_row(self, row: dict[str, Any]) -> str | None:
        targets, shown = self.references(row), self.target if isinstance(self.target, str) else self.target[0]
        if not targets:
            return f"the list of targets in column {shown!r} is empty"
        wrong = next((found for text in targets if (found := text_problem({shown: text}, shown))), None)
        return self.validate_inputs(row) or wrong

    def reference(self, row: dict[str, Any]) -> Any:
        targets = row[self.target] if isinstance(self.target, str) else self.references(row)
        return self._written(targets) if isinstance(targets, str) else [self._written(text) for text in targets]

    def _written(self, text: str) -> str:
        special = any(token in text for token in self._special_tokens)
        return as_generated(self.target_tokenizer, text, self.keep_special_tokens) if special else text

    @cached_property
    def _special_tokens(self) -> list[str]:
        added = self.target_tokenizer.added_tokens_decoder.values()
        return [*self.target_tokenizer.all_special_tokens, *(token.content for token in added if token.special)]

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The backbone's tokenizer, with the languages set if it is multilingual."""
        tokenizer: Any = super().tokenizer
        many = hasattr(tokenizer, "set_src_lang_special_tokens")
        for (key, language), attribute in zip(self.languages.items(), ("src_lang", "tgt_lang"), strict=True):
            if many != (language is not None):
                fact = "needs the language of its texts" if many else f"knows no languages, but data.{key} is {language!r}"
                raise UserError(f"data.{key}: the tokenizer of {self.backbone!r} {fact}")
            if language is not None:
                known = getattr(tokenizer, "lang_code_to_token", {})
                if known.get(language, language) not in tokenizer.get_vocab():
                    raise UserError(
                        f"data.{key} {language!r} is not a language of {self.backbone!r}. "
                        f"{near(language, known or tokenizer.extra_special_tokens)}"
                    )
                setattr(tokenizer, attribute, language)
        return tokenizer

    @cached_property
    def target_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of targets."""
        return decoder_tokenizer(self.decoder, self.trust_remote_code) if self.decoder else self.tokenizer

    @cached_property
    def _target_tokenizer_state(self) -> str:
        return tokenizer_state(self.target_tokenizer) if self.decoder else ""  # before its first use, which changes it

    def encoding_state(self) -> list[Any]:
        return [self._target_tokenizer_state]

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        sources = [self.prefix + text for text in columns[self.source]]
        return self.tokenize(sources, columns[self.context] if self.context else None, ("source", "context"))

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        references = [self.references(row) for row in as_rows(columns)]
        targets = self.encode_targets([texts[0] for texts in references])
        return {
            **self.encode_inputs(columns),
            "labels": targets["input_ids"],
            "target_truncated": targets["truncated"],
            "loss_weights": [len(ids) for ids in targets["input_ids"]],
            "reference": [[self._written(text) for text in texts] for texts in references],
        }

    def encode_targets(self, texts: list[str]) -> dict[str, list[Any]]:
        """The tokens of targets as ``input_ids``, and whether each was ``truncated``.

        The start token of a separate decoder is not a label; neither is that of T5 or Marian.
        """
        tokenizer: Any = self.target_tokenizer
        if not self.decoder:
            framed: Any = partial(_as_target, tokenizer)
            return tokenize(framed, self.max_target_length, texts, uncut=self._count_framed)
        end, bare = target_ids(tokenizer).end, partial(tokenizer, add_special_tokens=False)
        found = tokenize(bare, self.max_target_length - 1, texts, uncut=self._count_bare)  # type: ignore[arg-type]
        return {"input_ids": [[*ids, end] for ids in found["input_ids"]], "truncated": found["truncated"]}

    def _count_framed(self, found: Any) -> None:
        if self.encoder.counting:
            special = self.target_tokenizer.num_special_tokens_to_add()
            self.encoder.count("target", found["input_ids"], "max_target_length", special)

    def _count_bare(self, found: Any) -> None:
        """Count targets whose end token is still to come."""
        end = target_ids(self.target_tokenizer).end
        targets = ([*ids, end] for ids in found["input_ids"])
        self.encoder.count("target", targets, "max_target_length", 1, self.target_tokenizer)

    def counts(self, split: str) -> dict[str, int]:
        """Number of sources and targets that were cut."""
        found = {
            f"sources cut at {self.max_length} tokens": sum(self.encoded[split]["truncated"]),
            f"targets cut at {self.max_target_length} tokens": sum(self.encoded[split]["target_truncated"]),
        }
        return super().counts(split) | {name: count for name, count in found.items() if count}

    def lengths(self, split: str) -> np.ndarray:
        """Number of tokens of source and target of each example of an encoded split, ``(examples,)``."""
        import pyarrow.compute as pc

        labels = self.encoded[split].with_format("arrow")["labels"][:]
        return super().lengths(split) + pc.list_value_length(labels).to_numpy()


def _as_target(tokenizer: Any, texts: list[str], **options: Any) -> Any:
    return tokenizer(text_target=texts, **options)
