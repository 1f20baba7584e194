from __future__ import annotations

import types

import pedseg_runtime


def test_all_is_what_can_be_imported_and_sorted() -> None:
    public = {
        name
        for name, value in vars(pedseg_runtime).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(pedseg_runtime.__all__) == public
    assert pedseg_runtime.__all__ == sorted(
        pedseg_runtime.__all__, key=lambda name: (not name.isupper(), name.islower(), name)
    ), "constants, classes, functions: each sorted, as ruff keeps them"


def test_every_public_name_is_documented() -> None:
    for name in pedseg_runtime.__all__:
        if not name.isupper():
            assert getattr(pedseg_runtime, name).__doc__, name
