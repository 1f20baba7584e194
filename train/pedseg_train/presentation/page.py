"""Templates to pages: one document each, without script, network or a file beside it."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from .figures import Figure

__all__ = ["Figure", "Markup", "render"]


def render(package: str, template: str, **values: object) -> str:
    """Fill in a template; whatever is not `Markup` is escaped.

    Args:
        package: whose folder `templates` holds the template. It may extend `base.html.jinja` and
            import `macros.html.jinja`, which lie in this package's.
        template: its file name.
        values: that it names; a name without a value is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package), jinja2.PackageLoader(__package__)]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values) + "\n"
