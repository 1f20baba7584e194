"""Weights are kept once, whatever exports make of them, and every file comes back as it was."""

from __future__ import annotations

import zipfile

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import save_file

from pedseg_benchmarks.kit.archive import check_parts, extract, read_listing, writing
from pedseg_benchmarks.kit.files import add_files, rebuild_files
from pedseg_benchmarks.kit.tensors import find_tensors
from pedseg_benchmarks.kit.weight_store import (
    HALF,
    ROWS,
    STORED,
    WeightStore,
    rebuild,
    row_factors,
    shuffled,
    unshuffled,
)
from pedseg_runtime.errors import InputError


@pytest.fixture
def weight():
    values = np.random.default_rng(0).standard_normal((40, 30, 3, 3), np.float32)
    values[3] = 0  # a filter that learnt nothing
    values[5, 0] = -0.0
    return values


@pytest.fixture
def factors():
    return np.random.default_rng(1).uniform(-3, 3, 40).astype(np.float32)


def recipes(store):
    return [recipe.how for recipe in store.recipes]


def add(store, values):
    return store.add(values.tobytes(), str(values.dtype), values.shape)


def rebuilt(store):
    parts = {
        number: shuffled(raw, store.recipes[number].item_size)
        for number, raw in store.stored.items()
    }
    return dict(rebuild(store.to_list(), parts.__getitem__))


def test_a_folded_normalisation_is_kept_as_its_factors(weight, factors):
    store = WeightStore()
    folded = weight * factors[:, None, None, None]
    half = folded.astype(np.float16)
    numbers = [add(store, values) for values in (weight, folded, half)]
    assert recipes(store) == [STORED, STORED, ROWS, HALF]
    assert sum(map(len, store.stored.values())) == weight.nbytes + factors.nbytes
    made = rebuilt(store)
    for number, values in zip(numbers, (weight, folded, half), strict=True):
        assert made[number] == values.tobytes()


def test_the_same_bytes_are_one_tensor_even_where_the_file_tells_no_type(weight):
    store = WeightStore()
    assert add(store, weight) == store.add(weight.tobytes(), "", ()) == 0


def test_one_number_that_does_not_follow_is_enough_to_keep_all(weight, factors):
    folded = weight * factors[:, None, None, None]
    folded[-1, -1, -1, -1] = np.nextafter(folded[-1, -1, -1, -1], np.float32(9))
    assert row_factors(folded.reshape(40, -1), weight.reshape(40, -1)) is None
    store = WeightStore()
    add(store, weight)
    add(store, folded)
    assert recipes(store) == [STORED, STORED]


def test_the_sign_of_a_zero_is_kept(weight, factors):
    folded = weight * factors[:, None, None, None]
    folded[3] = -folded[3]  # equal to what the factors give, but for the signs of zeros
    store = WeightStore()
    add(store, weight)
    number = add(store, folded)
    assert rebuilt(store)[number] == folded.tobytes()


@pytest.mark.parametrize("item_size", [1, 2, 4, 8])
def test_bytes_shuffled_and_back_are_the_same(item_size):
    raw = bytes(range(48))
    assert unshuffled(shuffled(raw, item_size), item_size) == raw
    assert shuffled(b"abcdefgh", 4) == b"aebfcgdh"


@pytest.fixture
def network(tmp_path, weight, factors):
    """A checkpoint and three artifacts of one network: two graphs and an archive of torch."""
    folded = weight * factors[:, None, None, None]
    small = np.arange(8, dtype=np.float32)
    save_file({"w": weight, "small": small}, tmp_path / "checkpoint.safetensors")
    for name, values in {"fp32.onnx": folded, "fp16.onnx": folded.astype(np.float16)}.items():
        tensors = [numpy_helper.from_array(one, key) for key, one in (("a", small), ("w", values))]
        graph = helper.make_graph([], "g", [], [], tensors)
        onnx.save(helper.make_model(graph), tmp_path / name)
    with zipfile.ZipFile(tmp_path / "fp32.torchscript", "w") as archive:
        archive.writestr("m/data/0", folded.tobytes())
        archive.writestr("m/code.py", "def forward(): pass\n" * 99, zipfile.ZIP_DEFLATED)
    return sorted(tmp_path.iterdir(), key=lambda path: path.suffix != ".safetensors")


def test_files_of_one_network_take_little_more_than_its_weights(network, tmp_path, weight):
    assert [len(find_tensors(path, path.read_bytes())) for path in network] == [1, 1, 1, 1]
    with writing(tmp_path / "kit", part_bytes=10**6, facts={}) as archive:
        add_files(archive, [(f"models/{path.name}", path) for path in network])
    assert sum(archive.contents.values()) < 1.1 * weight.nbytes
    target = tmp_path / "out"
    extract(check_parts(tmp_path / "kit", read_listing(tmp_path / "kit")), target)
    made = rebuild_files(target)
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in network]
    assert sorted(path.name for path in target.iterdir()) == ["files.json", "models"]


def test_a_file_that_comes_out_otherwise_is_refused(network, tmp_path):
    with writing(tmp_path / "kit", part_bytes=10**6, facts={}) as archive:
        add_files(archive, [("checkpoint.safetensors", network[0])])
    target = tmp_path / "out"
    extract(check_parts(tmp_path / "kit", read_listing(tmp_path / "kit")), target)
    weights = target / "weights" / "0"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: expected the file"):
        rebuild_files(target)
    assert not (target / "checkpoint.safetensors").exists()
