"""Everything from nothing on a bare machine: data, models, artifacts, verdicts, figures.

`plan` lists the steps, every one a command that a person could type; `runner` runs them
within the budget; `summary` writes what came of it.
"""
