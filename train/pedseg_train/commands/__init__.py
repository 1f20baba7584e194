"""The commands of this package: `pedseg-data`, `pedseg-train` and `pedseg-eval`."""
