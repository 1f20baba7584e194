"""The described fields of a recipe: default, help text and valid values.

The options of `pedseg-train`, the table in the docs and the validation all come from this one
description.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedseg_runtime.errors import InputError

_KEY = "setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of one field.

    Attributes:
        name: of the field.
        kind: type of one value: int, float, str or bool.
        many: the field is a tuple of such values.
        default: of the dataclass.
        group: the heading in help texts.
        help: one line.
        choices: the valid values; empty for any.
        least, most: limits of a number, None where there is none.
        above: the number must be greater than `least`, not equal.
        exact: must stay the same in a resumed run; the others change speed or when to stop only.
    """

    name: str
    kind: type
    many: bool
    default: Any
    group: str
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    above: bool = False
    exact: bool = True

    def check(self, value: Any) -> None:
        """Raise InputError unless `value` is valid for this field."""
        if value is None and self.default is None:
            return
        for one in value if self.many else (value,):
            self._check_value(one)

    def _check_value(self, value: Any) -> None:
        if self.choices and value not in self.choices:
            raise InputError(f"{self.name}: expected {' or '.join(self.choices)}, found {value!r}")
        if self.kind not in (int, float):
            return
        low, high = self.least, self.most
        too_low = low is not None and not (value > low if self.above else value >= low)
        too_high = high is not None and not value <= high
        if too_low or too_high or not math.isfinite(value):
            raise InputError(f"{self.name}: expected {self.range}, found {value}")

    @property
    def range(self) -> str:
        """The limits in words."""
        if self.least is None:
            return "a finite number"
        low = f"{self.least:g}"
        if self.most is not None:
            return f"{'more than ' if self.above else ''}{low} to {self.most:g}"
        return f"a number above {low}" if self.above else f"at least {low}"


def setting(default: Any, help_text: str, **description: Any) -> Any:
    """A dataclass field that carries its description; keywords are those of `Setting`."""
    return dataclasses.field(default=default, metadata={_KEY: {"help": help_text, **description}})


def settings_of(recipe: type) -> tuple[Setting, ...]:
    """The described fields of a dataclass, in order; a group holds until the next begins."""
    hints = typing.get_type_hints(recipe)
    found, group = [], ""
    for field in dataclasses.fields(recipe):
        described: Mapping[str, Any] | None = field.metadata.get(_KEY)
        if described is None:
            continue
        group = described.get("group", group)
        kind, many = _kind(hints[field.name])
        found.append(
            Setting(
                name=field.name,
                kind=kind,
                many=many,
                default=field.default,
                **{**described, "group": group},
            )
        )
    return tuple(found)


def _kind(hint: Any) -> tuple[type, bool]:
    """`int | None` -> (int, False), `tuple[str, ...]` -> (str, True)."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    if isinstance(hint, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None)), False
    return hint, False
