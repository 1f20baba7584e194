"""`python -m pedseg_export` is `pedseg-export`."""

from .cli import main

main()
