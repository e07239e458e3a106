"""Where cells run: processes on this machine, a Slurm cluster or a Ray cluster."""

import os
import shutil
import subprocess
from pathlib import Path

from ftlit.study.plan.cells import Plan
from ftlit.study.plan.settings import LaunchSettings
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

    devices = gpus()
    return Runner(plan, folder, Local(jobs(plan.study.launch, devices), devices)).run()


def jobs(settings: LaunchSettings, devices: list[str]) -> int:
    """Number of cells at a time: as set in the study, else one per GPU, else the number of cores divided by the threads."""
    return settings.jobs or len(devices) or max((os.cpu_count() or 1) // settings.threads, 1)


def gpus() -> list[str]:
    """The GPUs that this process may use, found without initialising CUDA."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [device for device in visible.split(",") if device]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(i) for i, _ in enumerate(listed.stdout.splitlines())] if listed.returncode == 0 else []
