"""promptscope."""
