"""int8 artifacts: calibrated on images, quantised by onnxruntime's tools, tested to run.

`int8.quantize` reads from top to bottom: find the layers to quantise, measure their activations on
the calibration images, choose ranges, insert QDQ pairs, and run a smoke test.

onnxruntime's tools take a second to import, so nothing is imported here.
"""
