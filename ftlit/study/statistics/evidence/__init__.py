"""What each example of a run's predictions adds to its metrics, so that intervals can be computed by resampling examples."""

from ftlit.study.statistics.evidence.joint import evidence, joint_evidence
from ftlit.study.statistics.evidence.kinds import EVIDENCE_KINDS, why_no_evidence
from ftlit.study.statistics.evidence.rows import aligned

__all__ = ["EVIDENCE_KINDS", "aligned", "evidence", "joint_evidence", "why_no_evidence"]
