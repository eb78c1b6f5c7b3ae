"""`python -m promptscope`: the command line."""

from promptscope.cli import main

main()
