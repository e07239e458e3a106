"""Average the weights of runs: of several seeds (model soups), or of an old and a new model (WiSE-FT)."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning import LightningModule
from torch import Tensor

from ftlit.commands.evaluate import Evaluation
from ftlit.commands.update.lineage import parents
from ftlit.data.replay.earlier import earlier_data
from ftlit.data.shared.base import TaskData
from ftlit.errors import UserError
from ftlit.exports.compress.evaluate import Judge, evaluate
from ftlit.exports.export import check_finished, check_names_of
from ftlit.runs.checkpoint import AtomicCheckpointIO, find_checkpoint, load_task, read_checkpoint
from ftlit.runs.files import BEST, CONFIG
from ftlit.runs.folder import check_free, clear
from ftlit.runs.opening import build
from ftlit.runs.reading import RunFolder
from ftlit.runs.secrets import write_config
from ftlit.tasks import TaskModule
from ftlit.tasks.shared.checkpointing import save_trained
from ftlit.training.trainer import RunOptions, RunParts
from ftlit.util.settings import with_values
from ftlit.util.startup import quiet

Way = Literal["uniform", "greedy", "line"]
STEPS = 10  # of a line, from one model to the other
FULL = {"class_path": "ftlit.tuning.Full"}
# The averaged weights are all there is: nothing is loaded from elsewhere, and nothing is left to train.
WHOLE = {"tuning": FULL, **dict.fromkeys(("init_from", "keep", "teacher", "auxiliary", "lr_factors"))}


def soup(
    run: list[str],
    output: str,
    by: Way = "uniform",
    overwrite: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Average the weights of finished runs of one backbone into a new run, which costs no training.

    Args:
        run: Folder of a run; give the option several times. Adapters are merged into the backbone first.
        output: Folder of the new run. Its data are those of the last run that is named.
        by: `uniform` takes the mean of all (Wortsman et al., 2022, "Model soups"); `greedy` adds one run after the other, the
            best first, and keeps those that do not make validation worse; `line` mixes two runs in eleven shares and takes
            the best (Wortsman et al., 2022, "Robust fine-tuning", WiSE-FT). All choices are made on validation, never on test.
        overwrite: Whether to replace an earlier run in the output folder.
        trust_remote_code: Whether to run code that comes with the backbone.
        trust_classes: Import paths of classes outside ftlit that the runs may name, such as `my_task.Stars`.

    Raises:
        UserError: A run is not finished, or the runs have other weights, labels or tasks.
    """
    quiet()
    folders, target = [Path(folder).expanduser() for folder in run], Path(output).expanduser()
    if len(folders) < 2 or (by == "line" and len(folders) > 2):
        raise UserError(f"--by {by} needs {'two runs' if by == 'line' else 'two runs or more'}, got {len(folders)}: set --run")
    if twice := next((folder for folder in run if run.count(folder) > 1), None):
        raise UserError(f"--run {twice!r} is given twice; a mean of weights counts each run once")
    for folder in folders:
        RunFolder(folder).check()
        check_finished(folder)
        check_names_of(find_checkpoint(folder), trust_classes)
    taken: dict[str, str | Path | None] = {f"--run {folder}": folder for folder in folders}
    check_free(target, False, overwrite, taken)
    task, states = whole_weights(folders, trust_remote_code)
    data = earlier_data(str(folders[-1]), "--run", trust_remote_code)
    accelerator = str(RunFolder(folders[-1]).config["trainer"]["accelerator"])
    with tempfile.TemporaryDirectory() as work:
        shares = chosen_shares(states, by, scorer(task, data, states, Path(work), accelerator))
    names = [f"{share:g} of {folder}" for share, folder in zip(shares, folders, strict=True) if share]
    print(f"averaged: {', '.join(names)}", flush=True)
    task.model.load_state_dict(mean(states, shares))
    write_run(task, data, target, folders, dict(zip(run, shares, strict=True)), accelerator)


def whole_weights(folders: Sequence[Path], trust_remote_code: bool = False) -> tuple[TaskModule, list[dict[str, Tensor]]]:
    """Return the task of the last run without adapters, and the weights of each run, with adapters merged.

    Raises:
        UserError: They are not weights of the same model for the same task and labels.
    """
    states, labels, kinds = [], [], []
    for folder in folders:
        task = load_task(find_checkpoint(folder), trust_remote_code)
        task.replace_backbone(task.tuning.merge(task.backbone))
        states.append({name: weight.detach().clone() for name, weight in task.model.state_dict().items()})
        labels.append(getattr(task, "label_names", None))
        kinds.append(type(task).__name__)
    for folder, state, names, kind in zip(folders, states, labels, kinds, strict=True):
        if (kind, names) != (kinds[-1], labels[-1]):
            raise UserError(f"{folder} is a {kind} with the labels {names}, and {folders[-1]} a {kinds[-1]} with {labels[-1]}")
        if {n: w.shape for n, w in state.items()} != {n: w.shape for n, w in states[-1].items()}:
            raise UserError(
                f"{folder} and {folders[-1]} have weights of other names or shapes: they need the same backbone and head"
            )
    path = find_checkpoint(folders[-1])
    return build(LightningModule, _arguments(path), path, trust_remote_code), states


def _arguments(checkpoint: Path) -> dict[str, Any]:
    """The arguments of the task of a checkpoint, for a task of which all weights are given."""
    return {name: WHOLE.get(name, value) for name, value in read_checkpoint(checkpoint)["hyper_parameters"].items()}


def mean(states: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of weights; numbers that are no floating point are those of the last state."""
    return {
        name: sum(share * state[name].double() for share, state in zip(shares, states, strict=True)).to(last.dtype)  # type: ignore[union-attr]
        if last.is_floating_point()
        else last
        for name, last in states[-1].items()
    }


def scorer(
    task: TaskModule, data: TaskData, states: Sequence[dict[str, Tensor]], work: Path, accelerator: str
) -> Callable[[Sequence[float]], float]:
    """Return a function that measures a mixture on validation, where more is better."""
    judge = Judge.of(task)

    def score(shares: Sequence[float]) -> float:
        task.model.load_state_dict(mean(states, shares))
        value = evaluate(task, data, "validation", work / "validation", accelerator).metrics[judge.metric]
        print(f"{judge.metric} {value:.4f} on validation with shares {', '.join(f'{share:g}' for share in shares)}", flush=True)
        return value if judge.higher else -value

    return score


def chosen_shares(states: Sequence[Any], by: Way, score: Callable[[Sequence[float]], float]) -> list[float]:
    """Return the share of each run in the mean.

    Args:
        states: The weights of the runs.
        by: How they are chosen.
        score: Measures shares, where more is better.
    """
    count = len(states)
    if by == "uniform":
        return [1 / count] * count
    if by == "line":
        line = [[1 - i / STEPS, i / STEPS] for i in range(STEPS + 1)]
        return max(line, key=score)  # the first of equals, which is nearest to the old model
    alone = [score([float(i == j) for j in range(count)]) for i in range(count)]
    order = sorted(range(count), key=lambda i: (-alone[i], i))
    members, best = [order[0]], alone[order[0]]
    for i in order[1:]:
        more = [*members, i]
        if (found := score([(j in more) / len(more) for j in range(count)])) >= best:
            members, best = more, found
    return [(j in members) / len(members) for j in range(count)]


def write_run(
    task: TaskModule, data: TaskData, target: Path, folders: Sequence[Path], shares: dict[str, float], accelerator: str
) -> None:
    """Write the run of averaged weights, and evaluate it."""
    clear(target)
    parts = RunParts(target, RunOptions(), resumed=False, training=False)
    parts.make_trainer({"accelerator": accelerator, "devices": 1, "enable_progress_bar": False}, task)
    evaluation = Evaluation(target, parts, task, data)
    last = RunFolder(folders[-1])
    splits = [split for split in ("validation", "test") if split in data.rows]
    data.setup()
    evaluation.print_summary()
    evaluation.open_record(int(last.record.get("seed", 0)))
    config = with_values(last.config, {"run_dir": str(target), **{f"model.{name}": value for name, value in WHOLE.items()}})
    write_config(target / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    parts.record.update(parents=parents((f"average {share:.3g}", run) for run, share in shares.items() if share), shares=shares)
    with parts.record.failures():
        save(task, find_checkpoint(folders[-1]), target / BEST)
        for split in splits:
            evaluation.evaluate_checkpoint(split, target / BEST)
    parts.record.update(status="completed", steps=0)


def save(task: TaskModule, like: Path, path: Path) -> None:
    """Write the checkpoint of a task that was not trained.

    Args:
        task: The task.
        like: A checkpoint with the arguments of its class and of its data.
        path: Where it goes.
    """
    checkpoint = {**read_checkpoint(like), "hyper_parameters": _arguments(like), "state_dict": task.state_dict()}
    save_trained(task, checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
