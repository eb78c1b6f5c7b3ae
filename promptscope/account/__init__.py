"""A causal account of a prompt: the measurements of `ps.causal`, with conclusions in sentences, saved or as a page."""

from promptscope.account.account import Account
from promptscope.account.compare import Comparison, compare
from promptscope.account.explain import explain
from promptscope.account.loading import Loaded, load_subject
from promptscope.account.page import account_page
from promptscope.account.part import Part
from promptscope.account.parts import PARTS
from promptscope.account.subject import QUICK, Settings

__all__ = [
    "PARTS",
    "QUICK",
    "Account",
    "Comparison",
    "Loaded",
    "Part",
    "Settings",
    "account_page",
    "compare",
    "explain",
    "load_subject",
]
