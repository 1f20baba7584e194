"""The commands of this package: `pedseg-export` and `pedseg-verify`."""
