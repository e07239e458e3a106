"""What each example of a run's predictions adds to its metrics, so that intervals can be made by resampling examples."""

from ftlit.study.statistics.evidence.joint import evidence, joint_evidence
from ftlit.study.statistics.evidence.rows import aligned

__all__ = ["aligned", "evidence", "joint_evidence"]
