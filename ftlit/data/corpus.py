"""Raw text for language models: documents packed into blocks of tokens."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from ftlit.data.batches.batching import MicroBatch
from ftlit.data.batches.collate import PADDING
from ftlit.data.batches.corpus_blocks import causal_block, concatenate, mask_block, masked_block
from ftlit.data.batches.document_packing import (
    Blocks,
    NoBlocksError,
    Piece,
    join_lines,
    line_rows,
    lost_counts,
    pack_stream,
    pack_whole_documents,
    packed,
    split,
    token_sizes,
    with_targets,
    without_blank,
)
from ftlit.data.batches.masked_share import MASKED, check_masked_share, masked_share, masked_warning
from ftlit.data.batches.sentence_pairs import sentence_pairs
from ftlit.data.shared.base import TaskData
from ftlit.data.text.encoding import frame, require_offsets, unfinished
from ftlit.data.text.offsets import word_numbers
from ftlit.errors import UserError
from ftlit.models.backbones import load_config
from ftlit.models.masking import expected_count
from ftlit.util.batch import IGNORED, pad

if TYPE_CHECKING:
    from datasets import Dataset


class CorpusData(TaskData):
    """Raw text: documents are tokenized once and packed into blocks of `max_length` tokens.

    For a causal model, each document ends with the end-of-text token and blocks are filled to the last token. For a masked
    model, a block holds as many whole documents as fit, with separators between them; masks are drawn anew in every epoch.

    Args:
        text: Column of the text.
        document_unit: What forms a document: each `row` (in a txt file, each line), or all rows up to a blank one
            (`blank_line`), joined by line feeds.
        packing: Whether several documents share a block; a document longer than a block always takes several blocks.
        isolate_documents: Whether the documents of a block are isolated from each other in a causal model: positions restart
            with each document, and no document attends to another.
        objective: Taken from the model: what it is trained to predict.
        mask_probability: Taken from the model.
        whole_words: Taken from the model.
        next_sentence: Taken from the model.
    """

    padding: ClassVar[dict[str, int]] = {**PADDING, "position_ids": 0, "words": -1}

    def __init__(
        self,
        text: str = "text",
        document_unit: Literal["row", "blank_line"] = "row",
        packing: bool = True,
        isolate_documents: bool = True,
        objective: Literal["causal", "masked"] | None = None,
        mask_probability: float = 0.15,
        whole_words: bool = False,
        next_sentence: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.group is not None:
            raise UserError("data.group names the documents of rows, but CorpusData scores blocks of several; leave it out")
        if objective is None:
            raise UserError("CorpusData has no labels and needs a language model; set model to MaskedLM or CausalLM")
        self.text, self.document_unit, self.packing, self.isolate_documents = text, document_unit, packing, isolate_documents
        self.readers = {".txt": line_rows} if document_unit == "blank_line" else {}
        self.objective, self.mask_probability = objective, mask_probability
        self.whole_words, self.next_sentence = whole_words, next_sentence

    # Rows, which are documents

    def input_columns(self) -> dict[str, str]:
        return {"text": self.text}

    def columns(self) -> dict[str, str]:
        return self.input_columns()

    def validate_row(self, row: dict[str, Any]) -> str | None:
        return self.validate_inputs(row)

    def reference(self, row: dict[str, Any]) -> None:
        return None

    def prepare_splits(self, splits: dict[str, "Dataset"]) -> dict[str, "Dataset"]:
        make = join_lines if self.document_unit == "blank_line" else without_blank
        return {name: make(rows, self.text) if self.text in rows.column_names else rows for name, rows in splits.items()}

    # From documents to blocks

    def encode_inputs(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if self.objective == "masked":
            return self.tokenize(columns[self.text])
        _ = self.encoder.state  # read before the tokenizer is used
        prompts = unfinished(self.tokenizer, columns[self.text])
        return {
            "input_ids": [ids[-self.max_length :] for ids in prompts],  # the end of the text is what is continued
            "truncated": [len(ids) > self.max_length for ids in prompts],
        }

    def encode(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Tokens of documents without special tokens: ``input_ids``, and ``sizes`` and ``words`` of each token."""
        require_offsets(self.tokenizer, self.backbone, type(self).__name__)
        texts = columns[self.text]
        found = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        self.encoder.count("document", found["input_ids"], "max_length")
        sizes = [token_sizes(text, offsets) for text, offsets in zip(texts, found["offset_mapping"], strict=True)]
        features = {"input_ids": found["input_ids"], "sizes": sizes}
        if self.whole_words or self.next_sentence:
            rows = zip(texts, found["offset_mapping"], strict=True)
            features["words"] = [word_numbers(*row, found.word_ids(i)) for i, row in enumerate(rows)]
        return features

    def encode_split(self, rows: "Dataset") -> "Dataset":
        words = self.whole_words or self.next_sentence
        documents = self.encoder.encode(rows, self.encode, [type(self).__name__, self.columns(), words])
        try:
            blocks = packed(documents, self.pairs if self.next_sentence else self.blocks, self._block_settings())
        except NoBlocksError as error:
            raise UserError(
                f"data.dataset {self.dataset!r}: all labels masked: a split has no block with a token to predict ({error}); it "
                "needs longer texts, and a tokenizer that knows their characters"
            ) from None
        if self.objective == "masked" and self.whole_words:
            check_masked_share(blocks, self.mask_probability)
        return blocks

    def _block_settings(self) -> list[Any]:
        ends = self.frame if self.objective == "masked" else (self.frame[0], [self.eos_token_id])
        seed = self.seed if self.next_sentence else None
        return [self.option_values("encoding"), self.packing, self.special_ids, *ends, seed]

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text."""
        _ = self.encoder.state  # read before the tokenizer is used
        return frame(self.tokenizer)

    @cached_property
    def special_ids(self) -> list[int]:
        """Ids of the special tokens, which are never masked and never replace a masked token."""
        return sorted(self.tokenizer.all_special_ids)

    @cached_property
    def eos_token_id(self) -> int:
        """Id of the token that ends a document, from the tokenizer or else from the model's configuration."""
        given = self.tokenizer.eos_token_id
        given = load_config(self.backbone, self.trust_remote_code).eos_token_id if given is None else given
        if given is None:
            raise UserError(f"the tokenizer of {self.backbone!r} has no end-of-text token to end documents with")
        return int(given[0] if isinstance(given, list) else given)

    def blocks(self, pieces: Iterator[Piece], lost: Counter[str]) -> Blocks:
        """The features of blocks of documents; blocks without a token to predict are left out and counted."""
        if self.objective == "causal":
            return with_targets(self._causal_blocks(pieces), "loss_weights", lost)
        return with_targets(self._masked_blocks(pieces), "maskable", lost)

    def _causal_blocks(self, pieces: Iterator[Piece]) -> Blocks:
        ended = (piece.framed(self.frame[0], [self.eos_token_id]) for piece in pieces)
        found = pack_stream(ended, self.max_length) if self.packing else ([p] for e in ended for p in split(e, self.max_length))
        yield from (causal_block(parts, self.isolate_documents) for parts in found)

    def _masked_blocks(self, pieces: Iterator[Piece]) -> Blocks:
        before, after = self.frame
        room = self.max_length - len(before) - len(after)
        alone = ([part] for piece in pieces for part in split(piece, room))
        for parts in pack_whole_documents(pieces, room, len(after)) if self.packing else alone:
            framed = [part.framed(before if i == 0 else [], after) for i, part in enumerate(parts)]
            yield masked_block(concatenate(framed), self.special_ids, self.whole_words)

    def pairs(self, pieces: Iterator[Piece], lost: Counter[str]) -> Blocks:
        """The features of pairs of segments of documents, for next sentence prediction."""
        return with_targets(self._pair_blocks(pieces, lost), "maskable", lost)

    def _pair_blocks(self, pieces: Iterator[Piece], lost: Counter[str]) -> Blocks:
        before, after = self.frame
        room = self.max_length - len(before) - 2 * len(after)
        for first, second, apart in sentence_pairs(pieces, room, self.seed, lost):
            a, b = first.framed(before, after), second.framed([], after)
            both = masked_block(concatenate([a, b]), self.special_ids, self.whole_words)
            yield {**both, "token_type_ids": [0] * len(a.ids) + [1] * len(b.ids), "next_sentence": apart}

    # Batches

    def loss_weights(self, split: str) -> np.ndarray | None:
        if self.objective == "causal":
            return super().loss_weights(split)
        return self.expected(self.encoded[split].select_columns(["maskable", "maskable_words"])[:])

    def expected(self, columns: dict[str, list[Any]]) -> np.ndarray:
        """Expected number of masked tokens of each block, ``(blocks,)``."""
        tokens, words = (np.array(columns[name], dtype=float) for name in ("maskable", "maskable_words"))
        return expected_count(tokens, words, self.mask_probability)

    def collate(self, columns: dict[str, list[Any]], batch: MicroBatch | None = None) -> dict[str, Any]:
        """A batch with ``labels`` ``(batch, tokens)``: the tokens to predict, and -100 elsewhere.

        For a causal model, the label of a token is the token itself, which is predicted from those before it. If documents
        are isolated, the batch has ``position_ids`` that restart with each document and no attention mask: causal models of
        transformers infer from the positions which tokens belong together.
        """
        made = super().collate(columns, batch)
        if batch is None:
            return made
        made["bytes"] = torch.tensor(columns["bytes"], dtype=torch.float32)
        return self._causal(made) if self.objective == "causal" else self._masked(made, columns, batch)

    def _causal(self, made: dict[str, Any]) -> dict[str, Any]:
        real = made["attention_mask"].bool()
        if "position_ids" in made:
            del made["attention_mask"]
            predicted = real & (made["position_ids"] > 0)
        else:
            predicted = real & (torch.arange(real.shape[1]) > 0)
        return {**made, "labels": made["input_ids"].masked_fill(~predicted, IGNORED)}

    def _masked(self, made: dict[str, Any], columns: dict[str, list[Any]], batch: MicroBatch) -> dict[str, Any]:
        words = columns["words"] if self.whole_words else [None] * len(batch.indices)
        given = zip(columns["input_ids"], words, batch.indices, strict=True)
        rows = [self._mask(ids, numbers, place, batch.epoch) for ids, numbers, place in given]
        made["input_ids"] = pad([ids for ids, _ in rows], self.pad_token_id)
        made["labels"] = pad([labels for _, labels in rows], IGNORED)
        if batch.epoch is None:
            made["loss_weights"] = (made["labels"] != IGNORED).sum(1).float()
        else:
            made["loss_weights"] = torch.from_numpy(self.expected(columns)).float()
        if "next_sentence" in columns:
            made["next_sentence"] = torch.tensor(columns["next_sentence"])
        made.pop("words", None)
        return made

    def _mask(self, ids: list[int], words: list[int] | None, place: int, epoch: int | None) -> tuple[list[int], list[int]]:
        """Masked ids and labels of a block; they do not depend on the other blocks of the batch."""
        mask_id, size = self.tokenizer.mask_token_id, len(self.tokenizer)
        if mask_id is None:
            raise UserError(f"the tokenizer of {self.backbone!r} has no mask token: masked language modelling needs one")
        seeds = [1, self.order_seed, epoch, place] if epoch is not None else [0, self.seed, place]
        return mask_block(ids, words, self.special_ids, mask_id, size, self.mask_probability, seeds)

    # Reports

    def counts(self, split: str) -> dict[str, int]:
        blocks = self.encoded[split]
        return {"blocks": len(blocks), "tokens in its blocks": int(self.lengths(split).sum()), **lost_counts(blocks)}

    def shares(self, split: str) -> dict[str, float]:
        if self.objective == "causal":
            return {}
        epoch, blocks = (0 if split == "train" else None), self.encoded[split]
        return {MASKED: masked_share(blocks, lambda b, i: self._mask(b["input_ids"], b.get("words"), i, epoch)[1])}

    def warnings(self, split: str, shares: dict[str, float]) -> list[str]:
        return masked_warning(shares.get(MASKED, 0.0), self.mask_probability)

    def names(self, split: str, ids: list[int]) -> list[str]:
        rows = self.rows[split].select(self.encoded[split].select(ids)["first_row"][:])["row_id"][:]
        return [f"block {i} (from {row})" for i, row in zip(ids, rows, strict=True)]

    def record_at(self, split: str, i: int) -> dict[str, Any]:
        block = self.encoded[split][i]
        row = self.rows[split][block["first_row"]]["row_id"]
        return {"id": f"{split}:block{i}", "from": row, "bytes": block["bytes"]}
