"""From checkpoint to artifact: the inference graph, its formats, and the proof of parity."""
