"""What runs on CUDA, asked of onnxruntime's CUDA provider on a stand-in for the driver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pedseg_export import placement
from pedseg_export.commands.export import main
from pedseg_export.placement import explain_placement, read_log
from pedseg_runtime.backends.sessions import CPU, CUDA
from pedseg_runtime.errors import ArtifactError, DeviceError

needs_provider = pytest.mark.skipif(
    bool(placement.unavailable()), reason=placement.unavailable() or "available"
)
TINY = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"
LOG = """
[V:onnxruntime:, VerifyEachNodeIsAssignedToAnEp] Node placements
[V:onnxruntime:, VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on [CPU]. Number of nodes: 1
[V:onnxruntime:, VerifyEachNodeIsAssignedToAnEp]   Mul (node_mul_1)
[V:onnxruntime:, VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on [CUDA]. Number of nodes: 2
[V:onnxruntime:, VerifyEachNodeIsAssignedToAnEp]   Conv (trunk/conv (first))
[V:onnxruntime:, VerifyEachNodeIsAssignedToAnEp]   Conv ()
[W:onnxruntime:, constant_folding.cc:1 Fold]   Could not fold (a node)
"""


def test_the_log_is_counted_by_provider_and_operator() -> None:
    assert read_log(LOG) == {"CPU": {"Mul": 1}, "CUDA": {"Conv": 2}}
    line = "VerifyEachNodeIsAssignedToAnEp]  All nodes placed on [CUDA]. Number of nodes: 304"
    assert read_log(line) == {"CUDA": {placement.ALL: 304}}
    assert read_log("no placement") == {}


@needs_provider
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cuda", "cpu"),
    [
        pytest.param("onnx", 330, 42, id="dynamic"),
        pytest.param("fp16", 350, 42, id="fp16"),
        pytest.param("static", 315, 2, id="static"),
        pytest.param("full", 540, 56, id="full masks"),
    ],
)
def test_what_computes_is_on_cuda(
    kind: str, cuda: int, cpu: int, request: pytest.FixtureRequest
) -> None:
    """Only sizes are computed on the CPU, and no array comes back to it before the end."""
    found = explain_placement(request.getfixturevalue(f"{kind}_artifact").result.path)
    assert found.nodes(CUDA) <= cuda
    assert found.nodes(CPU) <= cpu
    assert "MemcpyToHost" not in found.copies
    assert not (found.copies and kind == "static")
    assert not found.problem
    assert not {"Pad", "Resize", "NonZero", "ScatterND"} & set(found.providers.get(CPU, {}))


@needs_provider
def test_a_graph_of_another_make_is_refused_for_what_stays_on_the_cpu(tmp_path: Path) -> None:
    """CUDA has no kernel for products of int32, so that they stay on the CPU."""
    import onnx

    text = (
        '<ir_version: 10, opset_import: ["" : 18]> '
        "agraph (int32[4, 4] x, float[4, 4] y) => (int32[4, 4] a, float[4, 4] b) "
        "{ a = MatMul(x, x) b = Relu(y) }"
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "other.onnx")
    found = explain_placement(tmp_path / "other.onnx")
    assert found.problem.startswith(f"{CPU} runs 1 MatMul of the graph")
    assert found.lines()[-1].startswith("refused by the runtime: ")


@needs_provider
def test_the_command_explains_an_artifact() -> None:
    result = CliRunner().invoke(main, [str(TINY), "--explain-placement", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["placement"]
    assert found["nodes"][CUDA] + found["nodes"].get(CPU, 0) > 0
    text = CliRunner().invoke(main, [str(TINY), "--explain-placement"])
    assert f"{found['nodes'][CUDA]} CUDA and {found['nodes'][CPU]} CPU nodes" in text.stdout


@needs_provider
def test_a_file_that_is_no_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_text("no graph")
    with pytest.raises(ArtifactError, match="expected an ONNX model"):
        explain_placement(path)


def test_what_is_missing_is_said_before_anything_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [str(tmp_path / "missing.safetensors"), "--explain-placement"]
    other = CliRunner().invoke(main, [*command, "--format", "pt2"])
    assert "expected --format onnx" in other.output
    monkeypatch.setattr(placement, "_PROVIDER", tmp_path / "nothing.so")
    with pytest.raises(DeviceError, match="pip install onnxruntime-gpu"):
        explain_placement(tmp_path / "any.onnx")
    assert "pip install onnxruntime-gpu" in CliRunner().invoke(main, command).output
