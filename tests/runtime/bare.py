"""Run by `make test-wheel` in an environment with base dependencies only: is it really bare?"""

import importlib.util
import subprocess
import sys
import time

BANNED = ("torch", "torchvision", "onnx", "onnxscript", "matplotlib", "safetensors")
LIMIT = 0.5  # seconds

present = [name for name in BANNED if importlib.util.find_spec(name)]
if present:
    sys.exit(f"expected an environment without {', '.join(BANNED)}, found {', '.join(present)}")


def seconds(code: str) -> float:
    """Best of five starts of a fresh interpreter."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


elapsed = seconds("import pedseg_runtime") - seconds("pass")
print(f"import pedseg_runtime: {elapsed:.3f} s (expected at most {LIMIT} s)")
