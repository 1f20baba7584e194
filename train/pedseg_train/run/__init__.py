"""A training run: from a dataset to a folder with a trained checkpoint."""
