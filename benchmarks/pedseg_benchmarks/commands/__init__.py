"""The subcommands of `pedseg-bench`."""
