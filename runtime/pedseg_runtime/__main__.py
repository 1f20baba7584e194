"""`python -m pedseg_runtime` is `pedseg-predict`."""

from .predict.cli import main

if __name__ == "__main__":
    main(prog_name="pedseg-predict")
