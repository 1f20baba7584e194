"""The artifact as a file: manifest, metadata, checksum, self-test, and the arrays of a run."""
