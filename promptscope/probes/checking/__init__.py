"""The conformance tests for probes: `ps.check_probe`."""

from promptscope.probes.checking.check import CheckReport, ProbeCheckError, check_probe

__all__ = ["CheckReport", "ProbeCheckError", "check_probe"]
