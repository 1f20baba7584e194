from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pedseg_benchmarks.suite import runner
from pedseg_benchmarks.suite.runner import Budget, Runner, Status, Step, carried_mark, run_command


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def suite(tmp_path):
    """Runs steps whose command is a line of Python; `told` is what the user saw."""

    class Suite:
        folder = tmp_path

        def runner(self, seconds=600.0, scale=1.0):
            self.told = []
            self.budget = Budget(total=seconds, scale=scale)
            return Runner(tmp_path, self.budget, self.told.append)

        def step(self, name="a", code=None, *, seconds=1.0, **options):
            made = tmp_path / "made" / name
            code = code or f"open({str(made)!r}, 'w').write('x')"
            return Step(
                name=name,
                command=lambda _done: ["python", "-c", code],
                makes=made,
                seconds=seconds,
                **options,
            )

    return Suite()


def test_a_step_that_makes_its_file_is_done_and_its_command_is_told(suite):
    outcome = suite.runner()(suite.step())
    assert outcome.status is Status.DONE
    assert outcome.seconds > 0
    assert outcome.command.startswith("python -c ")
    assert "$ python -c " in suite.told[0]


def test_a_step_without_patience_is_ended_though_time_is_left(suite, monkeypatch):
    monkeypatch.setattr(runner, "SHORTEST_LIMIT", 0.5)
    monkeypatch.setattr(runner, "SLOWEST_START", 0.1)
    outcome = suite.runner()(suite.step(code="import time; time.sleep(60)", patience=1.5))
    assert outcome.status is Status.DROPPED
    assert outcome.reason == "it did not finish in the 2 s that it may take"


def test_a_step_stands_in_for_another_that_failed_and_for_no_other(suite):
    run = suite.runner()
    run(suite.step("fine"))
    run(suite.step("broken", code="raise SystemExit(3)"))
    assert run(suite.step("b", instead_of="fine")).status is Status.SKIPPED
    assert run(suite.step("c", instead_of="broken")).status is Status.DONE


def test_commands_see_the_variables_of_their_runner(suite):
    made = suite.folder / "made" / "a"
    code = f"import os; open({str(made)!r}, 'w').write(os.environ['KIT'] + os.environ['HOME'])"
    run = Runner(suite.folder, Budget(total=60.0), print, {"KIT": "of a kit "})
    assert run(suite.step(code=code)).status is Status.DONE
    assert made.read_text() == f"of a kit {os.environ['HOME']}"


def test_the_same_step_is_reused_the_next_time_and_another_command_is_not(suite):
    suite.runner()(suite.step())
    again = suite.runner()(suite.step())
    assert again.status is Status.REUSED
    assert not suite.told
    made = str(suite.folder / "made" / "a")
    other = suite.runner()(suite.step(code=f"open({made!r}, 'w').write('other')"))
    assert other.status is Status.DONE


def test_what_was_made_of_something_new_is_made_again(suite):
    def both(runner):
        return [runner(suite.step("a")), runner(suite.step("b", needs=("a",)))]

    both(suite.runner())
    assert [one.status for one in both(suite.runner())] == [Status.REUSED] * 2
    (suite.folder / "made" / "a").unlink()
    assert [one.status for one in both(suite.runner())] == [Status.DONE] * 2


def test_a_step_that_would_not_fit_is_dropped_before_it_begins(suite):
    outcome = suite.runner(seconds=100)(suite.step(seconds=101))
    assert outcome.status is Status.DROPPED
    assert "about 101 s are needed, 100 s were left" in outcome.reason
    assert not (suite.folder / "made" / "a").exists()


@pytest.mark.slow
def test_a_step_that_overruns_is_ended_and_nothing_of_it_is_used(suite):
    runner = suite.runner(seconds=6.0)
    slow = runner(suite.step("slow", "import time; time.sleep(60)"))
    assert slow.status is Status.DROPPED
    assert slow.reason == "it did not finish in the 6 s that were left"
    assert runner(suite.step("after", needs=("slow",))).status is Status.SKIPPED


def test_a_step_that_fails_says_its_last_words_and_its_dependants_are_skipped(suite):
    runner = suite.runner()
    code = "import sys; print('Error: torch 2.11 cannot trace'); print('Next:'); sys.exit(1)"
    failed = runner(suite.step("a", code))
    assert (failed.status, failed.reason) == (
        Status.FAILED,
        "exit code 1: torch 2.11 cannot trace",
    )
    skipped = runner(suite.step("b", needs=("a",)))
    assert (skipped.status, skipped.reason) == (Status.SKIPPED, "it needs a")
    assert runner(suite.step("c")).status is Status.DONE
    assert runner.succeeded == {"c"}


def test_a_success_without_its_file_is_a_failure(suite):
    outcome = suite.runner()(suite.step(code="print('all fine')"))
    assert (outcome.status, outcome.reason) == (Status.FAILED, "exit code 0: all fine")


def test_a_file_of_before_does_not_pass_for_a_new_one(suite):
    (suite.folder / "made").mkdir()
    (suite.folder / "made" / "a").touch()
    assert suite.runner()(suite.step(code="pass")).status is Status.FAILED


def test_an_accepted_exit_code_is_noted(suite):
    made = str(suite.folder / "made" / "a")
    code = f"import sys; open({made!r}, 'w'); sys.exit(1)"
    outcome = suite.runner()(suite.step(code=code, accepts=(0, 1)))
    assert (outcome.status, outcome.reason) == (Status.DONE, "exit code 1: see its report")


def test_files_that_were_carried_over_are_taken_as_they_are(suite):
    step = suite.step()
    step.makes.parent.mkdir()
    step.makes.touch()
    carried_mark(step.makes).touch()
    assert suite.runner()(step).status is Status.CARRIED


def test_what_an_unfinished_step_left_is_cleared_first(suite):
    cleared: list[str] = []
    suite.runner()(suite.step(prepare=lambda: cleared.append("a")))
    assert cleared == ["a"]


def test_a_damaged_marker_means_to_do_it_again(suite):
    suite.runner()(suite.step())
    (suite.folder / "steps" / "a.json").write_text("{")
    assert suite.runner()(suite.step()).status is Status.DONE


def test_the_budget_learns_how_slow_the_machine_is(suite):
    clock = Clock()
    budget = Budget(total=1000, clock=clock)
    step = suite.step(seconds=60)
    assert budget.expected(step) == 60
    budget.learn(step, 180)
    assert budget.scale == pytest.approx(2)
    for _ in range(20):
        budget.learn(step, 180)
    assert budget.scale == pytest.approx(3, abs=0.1)
    clock.now = 400
    assert (budget.spent, budget.left) == (400, 600)
    clock.now = 4000
    assert budget.left == 0


def test_a_command_of_pedseg_runs_by_its_module(tmp_path):
    log = tmp_path / "log"
    assert run_command(["pedseg-bench", "--help"], log, timeout=60) == 0
    assert "suite" in log.read_text()


@pytest.mark.slow
def test_children_of_an_ended_command_end_too(tmp_path):
    log, sign = tmp_path / "log", tmp_path / "sign"
    child = f"import os, time; open({str(sign)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert run_command(["python", "-c", code], log, timeout=15) is None
    pid, deadline = int(sign.read_text()), time.monotonic() + 20
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not runs(pid)


def runs(pid):
    """Whether a process is there and no zombie, which only waits to be fetched."""
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
