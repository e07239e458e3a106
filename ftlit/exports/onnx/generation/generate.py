"""Write texts with the graphs of this folder, with ONNX Runtime and NumPy alone.

    from generate import Writer
    write = Writer(".")
    print(write([[5, 6, 7], [8, 9]]))  # ids of the tokens that follow each prompt

Settings come from `generation_config.json`; arguments such as ``max_new_tokens=20`` or ``do_sample=True`` override them.
"""

import json
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ENCODER, DECODER, GRAPH = "encoder_model.onnx", "decoder_model.onnx", "model.onnx"
SETTINGS = "generation_config.json"
CHUNK = 256  # tokens of a prompt that are read at once: the logits of all of them take memory
# Settings that change which tokens are written, with the values that change nothing. Those of `FOLLOWED` may have others.
NEUTRAL: dict[str, Any] = {
    **{"num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "min_length": 0, "encoder_no_repeat_ngram_size": 0},
    **{"encoder_repetition_penalty": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "diversity_penalty": 0.0},
    **{
        "guidance_scale": 1.0,
        "penalty_alpha": 0.0,
        "max_time": None,
        "stop_strings": None,
        "sequence_bias": None,
        "min_p": None,
    },
    **{"exponential_decay_length_penalty": None, "begin_suppress_tokens": None, "constraints": None, "top_h": None},
    **{"force_words_ids": None, "watermarking_config": None, "dola_layers": None, "prompt_lookup_num_tokens": None},
}
FOLLOWED: dict[str, Any] = {
    **{"max_new_tokens": 20, "min_new_tokens": 0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "bad_words_ids": None},
    **{"suppress_tokens": None, "forced_bos_token_id": None, "forced_eos_token_id": None, "eos_token_id": None},
    **{"pad_token_id": None, "bos_token_id": None, "decoder_start_token_id": None},
    **{"do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0},
}


class Graphs:
    """The graphs of a folder, and what they have read so far.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str | Path = ".") -> None:
        folder = Path(folder)
        self.encoder = _open(folder / ENCODER) if (folder / ENCODER).is_file() else None
        self.decoder = _open(folder / (DECODER if self.encoder else GRAPH))
        self.shapes = {given.name: given.shape for given in self.decoder.get_inputs() if given.name.startswith("past")}
        self.state: dict[str, np.ndarray] = {}
        self.mask = np.zeros((0, 0), np.int64)

    def begin(self, inputs: dict[str, np.ndarray]) -> None:
        """Begin new texts. An encoder reads its sources; a decoder has nothing yet.

        Args:
            inputs: ``input_ids`` and ``attention_mask``, each ``(rows, tokens)``, and others that the encoder takes.
        """
        rows = len(inputs["input_ids"])
        self.state, self.mask = {}, np.zeros((rows, 0), np.int64)
        if self.encoder:
            names = [output.name for output in self.encoder.get_outputs()]
            found = dict(zip(names, self.encoder.run(None, inputs), strict=True))
            self.state = {_past(name): value for name, value in found.items() if name.startswith("present")}
            self.state["encoder_attention_mask"] = inputs["attention_mask"]
        for name, (_, heads, _, width) in self.shapes.items():
            self.state.setdefault(name, np.zeros((rows, heads, 0, width), np.float32))

    def read(self, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Read the next tokens of each row and return the logits after each of them, ``(rows, tokens, vocabulary)``.

        Args:
            ids: Ids of the tokens, ``(rows, tokens)``.
            mask: Zeros where tokens pad a row at its beginning, ``(rows, tokens)``; by default none do.
        """
        given = {"input_ids": ids, **self.state}
        if not self.encoder:
            self.mask = np.concatenate([self.mask, np.ones_like(ids) if mask is None else mask], 1)
            given["attention_mask"] = self.mask
        names = [output.name for output in self.decoder.get_outputs()]
        found = dict(zip(names, self.decoder.run(None, given), strict=True))
        self.state |= {_past(name): value for name, value in found.items() if name.startswith("present")}
        return found["logits"]


class Writer:
    """Writes texts: the most probable token each time, or drawn ones with ``do_sample=True``.

    Args:
        folder: The folder of the graphs.
        **changes: Settings that override those of ``generation_config.json``.

    Raises:
        ValueError: A setting is not followed here, such as several beams.
    """

    def __init__(self, folder: str | Path = ".", **changes: Any) -> None:
        settings = json.loads((Path(folder) / SETTINGS).read_text("utf-8")) | changes
        if refused := unfollowed(settings):
            name, neutral = refused[0], NEUTRAL.get(refused[0])
            raise ValueError(
                f"{SETTINGS} has {name}: {settings[name]}, which this program does not follow; pass {name}={neutral} to write "
                "without it"
            )
        self.settings = FOLLOWED | {name: value for name, value in settings.items() if value is not None}
        self.graphs = Graphs(folder)
        self.ends = _list(self.settings["eos_token_id"])
        self.random = np.random.default_rng(self.settings["seed"])

    def __call__(self, prompts: list[list[int]], **others: list[list[int]]) -> list[list[int]]:
        """Return the ids of the tokens that are written after each prompt, or for each source of an encoder.

        Args:
            prompts: Ids of the tokens of each prompt or source.
            **others: Other inputs of the encoder, such as ``token_type_ids``.

        Raises:
            ValueError: A prompt has no tokens.
        """
        if not all(prompts):
            raise ValueError("a prompt has no tokens; give each at least one, such as the token that begins texts")
        if not prompts:
            return []
        padding, count = self.settings["pad_token_id"] or 0, self.settings["max_new_tokens"]
        encoded = self.graphs.encoder is not None
        seen = [[self.settings["decoder_start_token_id"]] if encoded else [*ids] for ids in prompts]
        logits, begun = self._begin(prompts, padding, others), [len(ids) for ids in seen]
        done = np.zeros(len(prompts), bool)
        for step in range(count):
            scores = np.stack([self._constrained(*one, step) for one in zip(logits, seen, strict=True)])
            chosen = np.where(done, padding, self._choose(scores))
            for ids, token in zip(seen, chosen.tolist(), strict=True):
                ids.append(token)
            done |= np.isin(chosen, self.ends)
            if done.all() or step + 1 == count:
                break
            logits = self.graphs.read(chosen[:, None].astype(np.int64))[:, -1]
        return [written(ids[start:], self.settings, encoded) for ids, start in zip(seen, begun, strict=True)]

    def _begin(self, prompts: list[list[int]], padding: int, others: dict[str, list[list[int]]]) -> np.ndarray:
        """Read prompts or sources, and return the logits of the first token, ``(rows, vocabulary)``."""
        masks, encoded = [[1] * len(ids) for ids in prompts], self.graphs.encoder is not None
        inputs = {"input_ids": padded(prompts, padding, left=not encoded), "attention_mask": padded(masks, 0, left=not encoded)}
        self.graphs.begin(inputs | {name: padded(values, 0) for name, values in others.items()})
        if encoded:
            start = np.full((len(prompts), 1), self.settings["decoder_start_token_id"], np.int64)
            return self.graphs.read(start)[:, -1]
        ids, mask = inputs.values()
        places = range(0, ids.shape[1], CHUNK)
        return [self.graphs.read(ids[:, i : i + CHUNK], mask[:, i : i + CHUNK])[:, -1] for i in places][-1]

    def _constrained(self, scores: np.ndarray, seen: list[int], step: int) -> np.ndarray:
        """Return the scores ``(vocabulary,)`` of the next token of a text, without what the settings forbid."""
        own, scores = self.settings, scores.copy()
        if own["repetition_penalty"] != 1.0:
            known, penalty = np.unique(seen), np.float32(own["repetition_penalty"])
            scores[known] = np.where(scores[known] < 0, scores[known] * penalty, scores[known] / penalty)
        forbidden = [*repeating(seen, own["no_repeat_ngram_size"]), *_list(own["suppress_tokens"])]
        forbidden += [words[0] for words in own["bad_words_ids"] or [] if words[0] not in self.ends]
        forbidden += self.ends if step < own["min_new_tokens"] else []
        scores[forbidden] = -np.inf
        first = own["forced_bos_token_id"] if self.graphs.encoder and step == 0 else None
        forced = own["forced_eos_token_id"] if step + 1 == own["max_new_tokens"] else first
        if forced is None:
            return scores
        only = np.full_like(scores, -np.inf)
        only[_list(forced)] = 0
        return only

    def _choose(self, scores: np.ndarray) -> np.ndarray:
        """Return a token for each row of scores ``(rows, vocabulary)``."""
        if not self.settings["do_sample"]:
            return scores.argmax(1)
        return np.array([self._draw(row.astype(np.float64)) for row in scores])

    def _draw(self, scores: np.ndarray) -> int:
        own = self.settings
        order = np.argsort(-scores, kind="stable")
        order = order[: own["top_k"] or len(order)]
        shares = np.exp((scores[order] - scores[order[0]]) / own["temperature"])
        shares /= shares.sum()
        kept = max(int((shares.cumsum() - shares < own["top_p"]).sum()), 1)
        return int(self.random.choice(order[:kept], p=shares[:kept] / shares[:kept].sum()))


def written(ids: list[int], settings: dict[str, Any], encoded: bool) -> list[int]:
    """Return what a model wrote without the tokens that begin and end a text.

    Args:
        ids: The tokens, without the prompt.
        settings: Those of ``generation_config.json``.
        encoded: Whether an encoder read the sources.
    """
    begins = {settings.get("bos_token_id"), settings.get("forced_bos_token_id")} if encoded else set()
    ends = _list(settings.get("eos_token_id"))
    return [*takewhile(lambda i: i not in ends, dropwhile(lambda i: i in begins, ids))]


def unfollowed(settings: dict[str, Any]) -> list[str]:
    """Return the names of settings that change texts in a way that `Writer` does not follow."""
    found = [name for name, value in NEUTRAL.items() if settings.get(name) not in (None, False, value)]
    words = settings.get("bad_words_ids") or []
    return found + (["bad_words_ids"] if any(len(ids) > 1 for ids in words) else [])


def repeating(seen: list[int], size: int) -> list[int]:
    """Return the tokens with which the last n-gram of this size would be one that a text has already."""
    if size == 0 or len(seen) + 1 < size:
        return []
    last = seen[len(seen) - size + 1 :]
    return [seen[i + size - 1] for i in range(len(seen) - size + 1) if seen[i : i + size - 1] == last]


def padded(rows: list[list[int]], value: int, left: bool = False) -> np.ndarray:
    """Return rows of one length, ``(rows, longest)``."""
    longest = max(map(len, rows))
    fill = [[value] * (longest - len(row)) for row in rows]
    return np.array([[*more, *row] if left else [*row, *more] for row, more in zip(rows, fill, strict=True)], np.int64)


def _past(name: str) -> str:
    return name.replace("present", "past_key_values", 1)


def _list(value: Any) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _open(file: Path) -> Any:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
