"""Probes: which activations of a forward pass are kept, and what is computed from them."""

from promptscope.probes.attention_bias import AttentionBias, HeadOutputParts
from promptscope.probes.attention_kl import AttentionKL, PerQueryKL, ReceivedAttention
from promptscope.probes.attention_mass import AttentionMass, PromptMass
from promptscope.probes.attention_variability import AttentionBlock, AttentionVariability
from promptscope.probes.base import Probe
from promptscope.probes.correlation import correlate
from promptscope.probes.curves import layer_curves, stack_tasks
from promptscope.probes.entries import Entries
from promptscope.probes.function import FunctionProbe, probe_function
from promptscope.probes.joint import JointCapture, SummedCapture
from promptscope.probes.label_cosine import LabelCosine, UnembeddingCosines
from promptscope.probes.layer_groups import LayerGroups, layer_groups
from promptscope.probes.neurons import NeuronStates
from promptscope.probes.on_score import on_scores
from promptscope.probes.prompt_pca import prompt_pca
from promptscope.probes.registry import PROBES, get_probes, register_probe
from promptscope.probes.residual import ResidualAt
from promptscope.probes.residual_pca import ResidualPCA
from promptscope.probes.result import ProbeResult
from promptscope.probes.run import probe
from promptscope.probes.saved import Saved, load_result
from promptscope.probes.write import Transplant, Write
from promptscope.probes.writing import TargetLoss, WritingProbe
from promptscope.store import ActivationStore, Capture, PairedCapture, View

__all__ = [
    "PROBES",
    "ActivationStore",
    "AttentionBias",
    "AttentionBlock",
    "AttentionKL",
    "AttentionMass",
    "AttentionVariability",
    "Capture",
    "Entries",
    "FunctionProbe",
    "HeadOutputParts",
    "JointCapture",
    "LabelCosine",
    "LayerGroups",
    "NeuronStates",
    "PairedCapture",
    "PerQueryKL",
    "Probe",
    "ProbeResult",
    "PromptMass",
    "ReceivedAttention",
    "ResidualAt",
    "ResidualPCA",
    "Saved",
    "SummedCapture",
    "TargetLoss",
    "Transplant",
    "UnembeddingCosines",
    "View",
    "Write",
    "WritingProbe",
    "correlate",
    "get_probes",
    "layer_curves",
    "layer_groups",
    "load_result",
    "on_scores",
    "probe",
    "probe_function",
    "prompt_pca",
    "register_probe",
    "stack_tasks",
]
