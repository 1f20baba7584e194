"""Serving many callers with one model: batches, and shadow comparisons with a reference."""
