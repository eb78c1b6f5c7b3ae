"""Captures on disk: reduced activations, stored by a key of what they were made from."""

from promptscope.store.capture import Capture, PairedCapture
from promptscope.store.entry import Entry
from promptscope.store.store import ActivationStore
from promptscope.store.view import View

__all__ = ["ActivationStore", "Capture", "Entry", "PairedCapture", "View"]
