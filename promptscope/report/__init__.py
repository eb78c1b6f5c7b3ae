"""Reports: results as one HTML page that needs no network."""

from promptscope.report.report import Report
from promptscope.report.run_figures import learning_curves
from promptscope.report.run_report import run_report

__all__ = ["Report", "learning_curves", "run_report"]
