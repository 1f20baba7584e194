"""No module of the four packages imports itself, over any number of steps.

import-linter's contract compares packages that lie side by side. This looks at single modules,
and takes each package's `__init__` for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import grimp

PACKAGES = ("pedseg_runtime", "pedseg_train", "pedseg_export", "pedseg_benchmarks")


def cycles(modules: Iterable[str], imported_by: Callable[[str], Collection[str]]) -> list[set[str]]:
    """The strongly connected components that hold a cycle."""
    reachable = {module: set(imported_by(module)) for module in modules}
    for middle in reachable:  # Warshall's transitive closure
        for targets in reachable.values():
            if middle in targets:
                targets |= reachable[middle]
    components = {
        frozenset(other for other in targets if module in reachable[other])
        for module, targets in reachable.items()
        if module in targets
    }
    return [set(component) for component in components]


def test_cycles_are_found() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "e"}}
    assert sorted(map(sorted, cycles(imports, imports.__getitem__))) == [["b", "c"], ["e"]]


def test_no_module_imports_itself() -> None:
    graph = grimp.build_graph(*PACKAGES)
    assert len(graph.modules) > 100
    assert graph.find_modules_directly_imported_by("pedseg_runtime"), "an __init__ is a module"
    assert cycles(graph.modules, graph.find_modules_directly_imported_by) == []
