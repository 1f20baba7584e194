"""Evidence: how fast exported artifacts are, with their parity beside every number."""
