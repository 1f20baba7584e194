"""What the runtime must never import: a child interpreter tries, and reports."""

from __future__ import annotations

import subprocess
import sys

BANNED = ("torch", "torchvision", "onnx", "onnxscript", "matplotlib", "safetensors", "av")
LAZY = (
    "onnxruntime", "openvino", "PIL", "prometheus_client", "pycocotools", "rich", "click", *BANNED
)  # fmt: skip

IMPORT_EVERYTHING = f"""
import importlib, pkgutil, sys

class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BANNED!r}:
            raise ImportError(f"the runtime imported {{name}}")

sys.meta_path.insert(0, Fence())
import pedseg_runtime
for module in pkgutil.walk_packages(pedseg_runtime.__path__, "pedseg_runtime."):
    importlib.import_module(module.name)
    print(module.name)
"""
IMPORT_THE_PACKAGE = f"""
import sys
import pedseg_runtime
print(*sorted(set({LAZY!r}) & set(sys.modules)))
"""


def child(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_without_torch_and_onnx() -> None:
    imported = child(IMPORT_EVERYTHING).split()
    assert "pedseg_runtime.backends.torch" in imported
    assert "pedseg_runtime.backends.onnx" in imported
    assert "pedseg_runtime.predict.cli" in imported


def test_importing_the_package_costs_numpy_alone() -> None:
    assert child(IMPORT_THE_PACKAGE).split() == []
