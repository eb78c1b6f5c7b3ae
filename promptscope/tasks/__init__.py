"""Tasks: records, templates, verbalizers and metrics, independent of models."""

from promptscope.tasks.encoded import IGNORED, concatenate
from promptscope.tasks.encoding import Batch, Encoded, EncodedSplit, collate
from promptscope.tasks.metrics import METRICS, Metric, get_metrics
from promptscope.tasks.records import Record
from promptscope.tasks.registry import list_tasks, load_task
from promptscope.tasks.specials import Specials
from promptscope.tasks.task import Task
from promptscope.tasks.template import TEMPLATES, Kind, Template
from promptscope.tasks.verbalizer import Verbalizer

__all__ = [
    "IGNORED",
    "METRICS",
    "TEMPLATES",
    "Batch",
    "Encoded",
    "EncodedSplit",
    "Kind",
    "Metric",
    "Record",
    "Specials",
    "Task",
    "Template",
    "Verbalizer",
    "collate",
    "concatenate",
    "get_metrics",
    "list_tasks",
    "load_task",
]
