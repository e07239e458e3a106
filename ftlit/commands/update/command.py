"""The command that trains on from a run with new data, and judges what came of it."""

import tempfile
from pathlib import Path

import yaml

from ftlit.commands.update.comparison import check_test, compare
from ftlit.commands.update.lineage import UPDATE, lineage
from ftlit.commands.update.plan import Keeping, Plan, default_output, given_changes, new_config
from ftlit.commands.update.report import Update, document, text
from ftlit.commands.update.verdict import judged
from ftlit.data.replay.choice import Way
from ftlit.data.replay.earlier import earlier_data
from ftlit.errors import UserError
from ftlit.exports.export import check_finished, check_names_of
from ftlit.exports.output.formats import line
from ftlit.exports.predict import load
from ftlit.insight.report import report_folder, write_report
from ftlit.runs.checkpoint import find_checkpoint
from ftlit.runs.files import CONFIG, predictions_file
from ftlit.runs.reading import RunFolder
from ftlit.util.arguments.ranges import FRACTION, INSIDE, NOT_NEGATIVE
from ftlit.util.files import write_text
from ftlit.util.startup import quiet

NUMBERS = {"replay": FRACTION, "tolerance": NOT_NEGATIVE, "test_share": INSIDE}
NOT_ACCEPTED = 3  # exit code with --gate


def update(
    run: str,
    data: str,
    output: str | None = None,
    replay: float = 0.2,
    by: Way = "random",
    keep: Keeping | None = None,
    tolerance: float = 0.01,
    set: list[str] | None = None,
    test_share: float = 0.2,
    gate: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    trust_classes: list[str] | str | None = None,
) -> None:
    """Train on from a finished run with new data, compare the old and the new model on both test splits, and give a verdict.

    Args:
        run: Folder of the earlier run, whose config the new one follows.
        data: The new data set, as in `data.dataset`, for the same task.
        output: Folder of the new run. Defaults to the name of the earlier one with `-updated`.
        replay: Share of rows of the earlier run in the new train and validation. 0 trains on new rows alone.
        by: Which rows of it: `random`, as many of each label (`balanced`), or those in which it has least confidence (`hard`).
        keep: What else acts against forgetting: a penalty on changes of weights (`L2SP`, `EWC`), or learning from the outputs
            of the earlier run (`distil`).
        tolerance: By how much the metric of the run may become worse on the old test split; for metrics that are no shares or
            correlations, as a share of their value.
        set: Further options of fit, such as `trainer.max_epochs=2`; give the option several times for several.
        test_share: Share of the new train that becomes test if the new data have no test split.
        gate: Whether the exit code is 3 if the new model is not accepted.
        resume: Whether to go on with an update that was interrupted.
        overwrite: Whether to replace an earlier run in the output folder.
        trust_remote_code: Whether to run code that comes with the backbone.
        trust_classes: Import paths of classes outside ftlit that the run may name, such as `my_task.Stars`.

    Raises:
        UserError: An option is wrong, the run is not finished, or the data do not fit it.
        SystemExit: The new model is not accepted, and `gate` is set.
    """
    quiet()
    folder = Path(run).expanduser()
    target = Path(output).expanduser() if output else default_output(folder)
    check_numbers(replay=replay, tolerance=tolerance, test_share=test_share)
    RunFolder(folder).check()
    check_finished(folder)
    check_names_of(find_checkpoint(folder), trust_classes)
    if target.resolve() == folder.resolve():
        raise UserError(f"--output {str(target)!r} is the earlier run itself; choose another folder")
    given_changes(set or [])  # raises if one is no option
    plan = Plan(run, data, str(target), replay, by, keep, set or [], test_share)
    if not (resume and RunFolder(target).finished):
        train(plan, resume, overwrite, trust_remote_code, trust_classes)
    found = judge(plan, folder, target, tolerance, trust_remote_code)
    print(text(found))
    with report_folder(target, UPDATE, None, overwrite=True) as place:
        write_report(place, UPDATE, document(found), found.record())
    if gate and not found.verdict.accepted:
        raise SystemExit(NOT_ACCEPTED)


def check_numbers(**given: float) -> None:
    """Check the options that are numbers.

    Raises:
        UserError: One is out of range.
    """
    for name, value in given.items():
        if not NUMBERS[name].accepts(value):
            raise UserError(f"--{name} must be {NUMBERS[name]}, got {value!r}")


def train(plan: Plan, resume: bool, overwrite: bool, remote_code: bool, classes: list[str] | str | None) -> None:
    """Train the new model, by the command `fit` with a config that follows that of the earlier run."""
    from ftlit.commands.cli import run

    if resume and (Path(plan.output) / CONFIG).is_file():
        run(["fit", "--resume", "--run_dir", plan.output])
        return
    check_test(earlier_data(plan.run, "--run", remote_code), "old")
    if plan.replay and plan.by == "hard":
        predict_train(Path(plan.run).expanduser(), remote_code, classes)
    config = new_config(plan, remote_code)
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / CONFIG
        file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        changes = [f"--{option.removeprefix('--')}" for option in plan.options]
        run(["fit", "--config", str(file), *changes, *(["--overwrite"] if overwrite else [])])


def predict_train(folder: Path, remote_code: bool = False, classes: list[str] | str | None = None) -> None:
    """Write what a run predicts for its own train split, with the scores of all labels, unless it is there.

    Raises:
        UserError: It predicts no scores of labels.
    """
    path = predictions_file(folder, "train")
    if path.is_file():
        return
    predictor = load(folder, trust_remote_code=remote_code, trust_classes=classes)
    if "scores" not in predictor.model.prediction_types():
        raise UserError(f"--by hard needs the confidence in labels, which {type(predictor.model).__name__} does not have")
    data = earlier_data(str(folder), "--run", remote_code)
    rows = data.rows["train"].to_list()
    names = list(data.input_columns().values())
    predicted = predictor([{name: row[name] for name in names} for row in rows], scores=True)
    lines = [
        {**data.record(row), **{k: v for k, v in found.items() if k != "id"}}
        for row, found in zip(rows, predicted, strict=True)
    ]
    write_text(path, "".join(map(line, lines)))


def judge(plan: Plan, old: Path, new: Path, tolerance: float, remote_code: bool = False) -> Update:
    """Compare the old and the new model, and decide."""
    with tempfile.TemporaryDirectory() as work:
        accelerator = str(RunFolder(new).config["trainer"]["accelerator"])
        compared = compare(old, new, Path(work), accelerator, remote_code)
    verdict = judged(compared, tolerance)
    return Update(new.resolve().name, compared, verdict, tolerance, _how(plan), lineage(new))


def _how(plan: Plan) -> str:
    """What acted against forgetting, in a sentence."""
    kept = {"L2SP": "the penalty L2SP", "EWC": "the penalty EWC", "distil": "learning from the outputs of the earlier run"}
    ways = [f"{plan.replay:.0%} rows of it, {plan.by}"] if plan.replay else []
    ways += [kept[plan.keep]] if plan.keep else []
    return f"The new run began with the weights of {plan.run}. Against forgetting: {' and '.join(ways) or 'nothing'}."
