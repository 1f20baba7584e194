"""The one error tree of pedseg.

    PedsegError
    ├── ArtifactError     an exported file that is missing, foreign, damaged, edited or too new
    ├── CheckpointError   the same for a training checkpoint
    ├── ClosedError       a segmenter that was closed, or that a forked process inherited
    ├── DatasetError      a folder or annotation that is not a usable dataset
    ├── DeadlineError     a request that was not answered in the time its caller gave it
    ├── DeviceError       a device that was asked for and does not run the model
    ├── DownloadError     an archive that could not be fetched or whose digest is wrong
    ├── ExportError       a model that could not be turned into an artifact
    ├── InputError        an image or argument that cannot be used
    ├── ParityError       an artifact that disagrees with its reference; carries the report
    ├── QueueFullError    a request that was turned away because too many are waiting
    └── TrainingError     a training run that cannot go on

Every message says what was expected, what was found and what to do. The command line prints it as
one line and exits with 1. For a service: `InputError` is the client's fault (HTTP 400),
`QueueFullError`, `DeadlineError` and `ClosedError` ask it to come back later (503), and everything
else is the service's own (500).
"""

from __future__ import annotations

from typing import Any, Protocol


class PedsegError(Exception):
    """Base of every error that pedseg raises on purpose."""


class ArtifactError(PedsegError):
    """An exported file that is missing, foreign, damaged, edited or of a newer schema."""


class CheckpointError(PedsegError):
    """A training checkpoint that is missing, foreign, damaged or of a newer schema."""


class ClosedError(PedsegError):
    """A segmenter that was closed, or that a forked process inherited and cannot use."""


class DatasetError(PedsegError):
    """A folder or annotation that is not a usable dataset."""


class DeadlineError(PedsegError):
    """A request that was not answered in the time its caller gave it."""


class DeviceError(PedsegError):
    """A device that was asked for and does not run the model."""


class DownloadError(PedsegError):
    """An archive that could not be fetched or whose digest is wrong."""


class ExportError(PedsegError):
    """A model that could not be turned into an artifact."""


class InputError(PedsegError):
    """An image or argument that cannot be used."""


class FailedComparison(Protocol):
    """What a `ParityError` carries; `parity.ParityReport` is one."""

    @property
    def reason(self) -> str:
        """One clause that says what disagrees."""

    def summary(self) -> str:
        """The verdict as one line."""

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values for JSON."""


class ParityError(PedsegError):
    """An artifact that disagrees with its reference.

    Attributes:
        report: the comparison that failed, a `parity.ParityReport`.
    """

    def __init__(self, message: str, report: FailedComparison) -> None:
        super().__init__(message)
        self.report = report


class QueueFullError(PedsegError):
    """A request that was turned away because too many are waiting already."""


class TrainingError(PedsegError):
    """A training run that cannot go on."""


def first_line(message: object) -> str:
    """The first line with words of an error, or of its message: libraries add call stacks below."""
    lines = (line.strip() for line in str(message).splitlines())
    return next((line for line in lines if line), "no reason given")


def summarize(error: BaseException) -> str:
    """The message of an error of this package, or type and first line of any other."""
    if isinstance(error, PedsegError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}"
