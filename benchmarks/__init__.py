"""promptscope against PEFT and the bare model: ratios of CPU or GPU time, each with the equality that makes it count.

Run `python -m benchmarks --list`, `python -m benchmarks --quick`, `python -m benchmarks`.
"""
