"""Eight-bit artifacts: calibrated on pictures, quantised by onnxruntime's tools, seen to run.

    calibration     a folder -> pictures to calibrate on
    regions         which nodes of the graph can compute in eight bits
    observation     the values those nodes see on the pictures
    ranges          the range of them that eight bits shall span
    int8            all of it in order: an ONNX file in float32 -> one in int8
    survival        whether onnxruntime runs the result on frames without detections

onnxruntime's tools take a second to import, so nothing is imported here.
"""
