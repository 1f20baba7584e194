"""Stages of torch programs."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from pedseg_export.stages.split_torch import extract_stage, nodes_between


def test_a_part_of_a_program_reads_what_is_given_and_only_that() -> None:
    class Chain(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            first = images + 1
            return first * 2 + images

    module = fx.symbolic_trace(Chain())
    nodes = {node.name: node for node in module.graph.nodes}
    for node in nodes.values():
        node.meta["val"] = torch.zeros(1)
    inputs = {nodes["images"]: "images", nodes["add"]: "first"}
    outputs = [nodes["mul"]]
    doubled = extract_stage(module, inputs, outputs, nodes_between(inputs, outputs))
    assert list(doubled.inputs) == ["first"]
    assert doubled.module(torch.tensor(5.0))[0] == 10
    outputs = [nodes["add_1"]]
    both = extract_stage(module, inputs, outputs, nodes_between(inputs, outputs))
    assert both.module(torch.tensor(100.0), torch.tensor(5.0))[0] == 110
