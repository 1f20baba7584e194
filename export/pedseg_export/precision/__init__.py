"""Eight-bit artifacts: calibrated on pictures, quantised by onnxruntime's tools, seen to run.

    calibration     a folder -> pictures to calibrate on
    regions         which nodes of the graph can compute in eight bits
    activations     the values those nodes see on the pictures -> a range for each
    int8            all of it in order: an ONNX file in float32 -> one in int8
    survival        whether onnxruntime runs the result on frames without detections

onnxruntime's tools take a second to import, so nothing is imported here.
"""
