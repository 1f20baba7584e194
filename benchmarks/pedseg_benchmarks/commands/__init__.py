"""The commands of `pedseg-bench`, one module each; `cli` imports them when they are used."""
