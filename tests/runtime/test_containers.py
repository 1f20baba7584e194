"""Limits of containers, read from files that stand in for the system's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pedseg_runtime import Segmenter, containers
from pedseg_runtime.containers import cpu_quota, memory_limit, thread_limit

V2 = "31 23 0:28 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
V1 = "32 31 0:29 {root} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"


def system(root: Path, files: Mapping[str, str]) -> Path:
    """A folder with the given files, by path."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def version_2(root: Path, group: str, files: Mapping[str, str], mounted: str = "/") -> Path:
    groups = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    facts = {
        "proc/self/cgroup": f"0::{group}",
        "proc/self/mountinfo": V2.format(root=mounted),
        "proc/meminfo": "MemTotal:       16384 kB\nMemFree: 1 kB",
    }
    return system(root, {**facts, **groups})


@pytest.mark.parametrize(
    ("text", "quota"),
    [("150000 100000", 1.5), ("max 100000", None), ("50000 100000", 0.5), ("garbage", None)],
)
def test_the_quota_of_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    assert cpu_quota(version_2(tmp_path, "/", {"cpu.max": text})) == quota


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    groups = {"a/cpu.max": "100000 100000", "a/b/cpu.max": "300000 100000", "cpu.max": "max 100000"}
    assert cpu_quota(version_2(tmp_path, "/a/b", groups)) == 1.0


def test_a_container_sees_its_own_group_as_the_mount(tmp_path: Path) -> None:
    groups = {"cpu.max": "200000 100000", "memory.max": str(8 << 20)}
    root = version_2(tmp_path, "/docker/0123", groups, mounted="/docker/0123")
    assert cpu_quota(root) == 2.0
    assert memory_limit(root) == 8 << 20


@pytest.mark.parametrize(("quota", "found"), [("250000", 2.5), ("-1", None)])
def test_the_quota_of_version_1(tmp_path: Path, quota: str, found: float | None) -> None:
    names = "cpu,cpuacct"
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": f"4:memory:/docker/0123\n3:{names}:/docker/0123",
            "proc/self/mountinfo": "\n".join(
                V1.format(root="/docker/0123", name=name) for name in (names, "memory")
            ),
            f"sys/fs/cgroup/{names}/cpu.cfs_quota_us": quota,
            f"sys/fs/cgroup/{names}/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(4 << 20),
        },
    )
    assert cpu_quota(root) == found
    assert memory_limit(root) == 4 << 20


def test_without_limits_the_machine_counts(tmp_path: Path) -> None:
    root = version_2(tmp_path / "v2", "/", {"memory.max": "max"})
    assert (cpu_quota(root), memory_limit(root)) == (None, 16 << 20)
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)


@pytest.mark.parametrize(
    ("quota", "cpus", "threads"),
    [
        *((1.5, 8, 2), (0.5, 8, 1), (1.0, 8, 1), (3.0, 8, 3), (3.01, 8, 4)),
        *((7.5, 8, None), (1.5, 2, None), (8.0, 8, None), (16.0, 8, None), (None, 8, None)),
    ],
)
def test_threads_follow_the_quota_not_the_host(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cpus: int, threads: int | None
) -> None:
    monkeypatch.setattr(containers, "cpu_quota", lambda root: quota)
    monkeypatch.setattr(containers, "usable_cpus", lambda: cpus)
    assert thread_limit() == threads


def test_cpus_are_those_that_the_process_may_run_on() -> None:
    assert 1 <= containers.usable_cpus() <= (os.cpu_count() or 1)


def test_a_segmenter_follows_the_quota_and_says_so(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pedseg_runtime.backends.base.thread_limit", lambda: 3)
    monkeypatch.setattr("pedseg_runtime.info.cpu_quota", lambda: 3.5)
    with Segmenter.load(tiny_path, device="cpu") as segmenter:
        info = segmenter.info
        options = segmenter._backend._session.get_session_options()
    assert (info.threads, info.cpu_quota) == (3, 3.5)
    assert options.intra_op_num_threads == 3
    with Segmenter.load(tiny_path, device="cpu", threads=2) as segmenter:
        assert segmenter.info.to_dict()["threads"] == 2
    monkeypatch.setattr("pedseg_runtime.backends.base.thread_limit", lambda: None)
    with Segmenter.load(tiny_path, device="cpu") as segmenter:
        assert segmenter.info.threads is None
