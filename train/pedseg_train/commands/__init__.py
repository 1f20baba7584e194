"""The commands: `pedseg-data`, `pedseg-import`, `pedseg-train` and `pedseg-eval`."""
