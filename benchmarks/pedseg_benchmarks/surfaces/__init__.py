"""How latency depends on the picture: on what is found in it, and on its size."""
