"""`python -m pedseg_export` is `pedseg-export`."""

from .commands.export import main

main()
