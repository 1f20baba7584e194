"""Training: the state of a run, the steps that change it, and the loop around them."""

from .history import Record, best_record
from .loop import Observer, Surroundings, fit
from .processes import Processes, joined_processes, local_device
from .state import TrainingState
from .stopping import StoppedError, StopRequest

__all__ = [
    "Observer",
    "Processes",
    "Record",
    "StopRequest",
    "StoppedError",
    "Surroundings",
    "TrainingState",
    "best_record",
    "fit",
    "joined_processes",
    "local_device",
]
