"""Reports: results as one self-contained HTML page."""

from promptscope.report.report import Report
from promptscope.report.run_figures import learning_curves
from promptscope.report.run_report import run_report

__all__ = ["Report", "learning_curves", "run_report"]
