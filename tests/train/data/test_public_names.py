import pytest

import pedseg_train.data as package


def test_every_public_name_can_be_imported():
    assert package.__all__ == sorted(package.__all__)
    assert all(callable(getattr(package, name)) for name in package.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = package.Nonsense
