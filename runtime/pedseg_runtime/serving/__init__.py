"""What stands between many callers and one model: batches, and a second opinion in the shadow."""
