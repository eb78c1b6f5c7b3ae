"""Probes: what to keep of forward passes, and what to make of it."""

from promptscope.probes.attention_kl import AttentionKL, PerQueryKL, ReceivedAttention
from promptscope.probes.attention_variability import AttentionBlock, AttentionVariability
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries
from promptscope.probes.registry import PROBES, get_probes
from promptscope.probes.result import ProbeResult
from promptscope.probes.run import probe
from promptscope.probes.saving import load_result
from promptscope.store import ActivationStore, Capture, PairedCapture, View

__all__ = [
    "PROBES",
    "ActivationStore",
    "AttentionBlock",
    "AttentionKL",
    "AttentionVariability",
    "Capture",
    "Entries",
    "PairedCapture",
    "PerQueryKL",
    "Probe",
    "ProbeResult",
    "ReceivedAttention",
    "View",
    "get_probes",
    "load_result",
    "probe",
]
