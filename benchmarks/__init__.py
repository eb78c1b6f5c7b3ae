"""promptscope compared with PEFT and the bare model: ratios of CPU or GPU time, valid only where results are equal.

Run `python -m benchmarks --list`, `python -m benchmarks --quick`, `python -m benchmarks`.
"""
