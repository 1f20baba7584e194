"""Training: the state of a run, the steps that change it, and the loop around them."""

from .loop import Observer, TrainingContext, fit
from .processes import Processes, StoppedError, StopRequest, joined_processes, local_device
from .state import Record, TrainingState, best_record

__all__ = [
    "Observer",
    "Processes",
    "Record",
    "StopRequest",
    "StoppedError",
    "TrainingContext",
    "TrainingState",
    "best_record",
    "fit",
    "joined_processes",
    "local_device",
]
