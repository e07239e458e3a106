"""The models of a server: runs and exported folders under their names."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftlit.errors import in_a_sentence, near, user_error
from ftlit.exports.folder import METADATA_FILE
from ftlit.exports.predicting.predictor import Predictor
from ftlit.runs.files import BEST, CALIBRATION, RECORD
from ftlit.runs.reading import RunFolder
from ftlit.serve.completions.generator import Generator
from ftlit.serve.completions.writer import Writer
from ftlit.serve.metrics import Metrics
from ftlit.serve.problems import ProblemError
from ftlit.serve.queues.batcher import Batcher
from ftlit.serve.queues.queue import Loaded
from ftlit.serve.settings import Limits

log = logging.getLogger("ftlit.serve")


class Model:
    """A run or an exported folder that answers.

    Args:
        name: Name of the model.
        folder: Its folder.
        load: Opens the folder.
        limits: Limits of the server.
        metrics: Counters of the server.
    """

    def __init__(self, name: str, folder: Path, load: Callable[[Path], Predictor], limits: Limits, metrics: Metrics) -> None:
        self.name, self.folder, self._load, self.limits, self.metrics = name, folder, load, limits, metrics
        self._stamp, self.created = self._state(), int(time.time())
        self.loaded = Loaded(name, load(folder), limits, metrics)
        self.batcher = Batcher(self.loaded)
        self.writer = Writer(self.loaded, Generator(self.predictor))
        metrics.waiting[name] = lambda: self.batcher.waiting + self.writer.waiting

    def start(self) -> None:
        """Begin to answer."""
        self.loaded.start()

    def close(self) -> None:
        """Answer what was accepted, and end the thread."""
        self.loaded.close()

    @property
    def predictor(self) -> Predictor:
        """The model as it is now."""
        return self.loaded.predictor

    @property
    def columns(self) -> set[str]:
        """The names of its input columns."""
        return {*self.predictor.data.input_schema()}

    def schema(self) -> dict[str, Any]:
        """What the model takes and gives."""
        predictor = self.predictor
        data, task = predictor.data, predictor.model
        labels = list(getattr(task, "label_names", None) or [])
        return {
            "model": self.name,
            "task": type(task).__name__,
            "columns": data.input_schema(),
            "required": list(data.input_columns().values()),
            "plain_text": data.row_from_text("text") is not None,
            "chat": self.writer.generator.chat is not None,
            "completions": self.writer.generator.continues,
            **({"labels": labels} if labels else {}),
            "limits": {
                "tokens": data.max_length,
                "characters": self.limits.max_characters,
                "rows": self.limits.max_rows,
                "bytes": self.limits.max_body,
                "seconds": self.limits.timeout,
            },
        }

    def _state(self) -> list[tuple[int, int, int]]:
        """What changes when another run takes the place of this one."""
        files = (self.folder / name for name in (RECORD, BEST, CALIBRATION, METADATA_FILE))
        states = [file.stat() for file in files if file.is_file()]
        return [(state.st_ino, state.st_mtime_ns, state.st_size) for state in states]

    def reload(self, again: bool = False) -> None:
        """Take the run that is in the folder now, if it has finished and is another than before. Nothing is lost meanwhile.

        Args:
            again: Whether to take it even if it is the same.
        """
        state, record = self._state(), self.folder / RECORD
        if not again and (state == self._stamp or not state):
            return
        try:
            if record.is_file() and not RunFolder(self.folder).finished:
                return
            predictor = self._load(self.folder)
            self.writer.generator, self.loaded.predictor = Generator(predictor), predictor
        except Exception as error:
            self._stamp = state
            self.metrics.reload(self.name, "failed")
            log.error("the model %s stays as it is: %s", self.name, user_error(error) or in_a_sentence(error))
            return
        self._stamp = state
        self.metrics.reload(self.name, "taken")
        log.info("the model %s was loaded again from %s", self.name, self.folder)


class Models(dict[str, Model]):
    """The models of a server by their names."""

    def find(self, name: str | None) -> Model:
        """The model of a request.

        Raises:
            ProblemError: There is none with this name, or there are several and none was named.
        """
        if not self:
            raise ProblemError(404, "this server has no models, but a studio at /studio/; --run adds a model")
        if name is None and len(self) == 1:
            return next(iter(self.values()))
        if name is None:
            raise ProblemError(
                400, f"this server has {len(self)} models; name one of them: {', '.join(self)}", models=list(self)
            )
        if name not in self:
            raise ProblemError(404, f"there is no model {name!r}. {near(name, self)}", models=list(self))
        return self[name]
