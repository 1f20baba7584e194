"""What the page says, in which order; `templates` holds how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import jinja2
from markupsafe import Markup

from pedseg_runtime import __version__

from ..evaluation.analysis import Analysis
from ..evaluation.recording import Annotated, Recording
from . import plots, tables
from .data_facts import PartFacts
from .environment import environment
from .gallery import choose, exhibit
from .run_facts import RunFacts, Subject
from .svg import svg_of


def render(
    subject: Subject,
    *,
    dataset: Annotated,
    recording: Recording,
    analysis: Analysis,
    data: Mapping[str, PartFacts],
) -> str:
    """The page as one HTML document; everything that came from outside is escaped."""
    environment_ = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    worst, best = choose(analysis.rows)
    return environment_.get_template("report.html.jinja").render(
        subject=subject,
        analysis=analysis,
        answer=answer(subject, analysis),
        tiles=tables.tiles(subject, analysis, data),
        numbers=tables.numbers(analysis),
        classes=tables.classes(analysis),
        errors=tables.errors(analysis),
        commonest=tables.commonest(analysis),
        worst=exhibit(worst, dataset, recording, analysis),
        best=exhibit(best, dataset, recording, analysis),
        data=data,
        settings=tables.settings(subject.run),
        times=tables.times(subject, analysis, data),
        environment=environment(),
        figures=_figures(subject.run, analysis, data),
        version=__version__,
        today=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )


def answer(subject: Subject, analysis: Analysis) -> str:
    """The page in one sentence."""
    errors = analysis.errors("segm")
    people, pictures = errors["people"], analysis.result.images
    if not people:
        return f"Nobody is labelled on the {pictures} {subject.part} pictures: nothing to measure."
    false_alarms = sum(errors["false_alarms"].values())
    found = f"{errors['matched']} of {people} {analysis.instance_noun}"
    share = f"{100 * errors['matched'] / people:.0f} %"
    return (
        f"On {pictures} {subject.part} pictures it finds {found} ({share}) and raises "
        f"{false_alarms} false {'alarm' if false_alarms == 1 else 'alarms'} at a score of "
        f"{analysis.score:g}: mask AP {analysis.cell('segm', 'AP')}, box AP "
        f"{analysis.cell('bbox', 'AP')}."
    )


def _figures(
    run: RunFacts | None, analysis: Analysis, data: Mapping[str, PartFacts]
) -> dict[str, Markup]:
    """Every plot by name. The SVG is our own: text in it was escaped by matplotlib."""
    draws: dict[str, plots.Draw] = {
        "errors by reason": partial(plots.draw_errors, analysis=analysis),
    }
    if any(facts.sizes for facts in data.values()):
        sizes = {part: facts.sizes for part, facts in data.items()}
        counts = {part: facts.counts for part, facts in data.items()}
        draws["size of the instances"] = partial(plots.draw_sizes, sizes=sizes)
        draws["instances per picture"] = partial(plots.draw_crowding, counts=counts)
    if analysis.result.instances:
        draws["precision and recall"] = partial(plots.draw_precision_recall, analysis=analysis)
    if run is not None:
        draws["accuracy by epoch"] = partial(
            plots.draw_accuracy, history=run.history, best=run.best_epoch, analysis=analysis
        )
        draws["losses by epoch"] = partial(plots.draw_losses, history=run.history)
        draws["learning rate by epoch"] = partial(plots.draw_rate, history=run.history)
        draws["time by epoch"] = partial(plots.draw_time, history=run.history)
    return {name: Markup(svg_of(draw, name=name)) for name, draw in draws.items()}
