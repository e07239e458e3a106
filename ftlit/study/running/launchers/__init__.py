"""Where cells run: processes on this machine, a Slurm cluster or a Ray cluster."""

from pathlib import Path

from ftlit.study.plan.cells import Plan
from ftlit.study.running.runner import Runner
from ftlit.study.state.folder import Folder
from ftlit.study.state.progress import Progress


def launch(plan: Plan, folder: Folder, file: Path) -> Progress:
    """Run the pending cells of a study with its launcher until none is pending."""
    kind = plan.study.launch.launcher
    if kind == "slurm":
        from ftlit.study.running.launchers.slurm import run_on_slurm

        return run_on_slurm(plan, folder, file)
    if kind == "ray":
        from ftlit.study.running.launchers.ray import Ray

        return Runner(plan, folder, Ray(plan.study.launch)).run()
    from ftlit.study.running.launchers.local import Local
    from ftlit.study.running.launchers.sharing import gpus, sharing

    return Runner(plan, folder, Local(sharing(plan.study.launch, gpus()))).run()
