"""`python -m pedseg_benchmarks.training`."""

from .cli import main

main()
