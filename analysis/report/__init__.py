"""The closing report of a run: one page that answers, and folded sections below it."""

from analysis.report.build import build_report
from analysis.report.document import Report, Section

__all__ = ["Report", "Section", "build_report"]
