"""What each example of a run's predictions adds to its metrics, so that intervals can be computed by resampling examples."""

from ftlit.metrics.evidence.kinds import EVIDENCE_KINDS, METRIC_SETTINGS, why_no_evidence
from ftlit.metrics.evidence.rows import aligned

__all__ = ["EVIDENCE_KINDS", "METRIC_SETTINGS", "aligned", "why_no_evidence"]
