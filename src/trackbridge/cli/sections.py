"""Options under headings, for commands that have many."""

from __future__ import annotations

from typing import Any

import click


class SectionOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, section: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help shows options under their headings, those without one last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "section", ""), []).append(record)
        others = sections.pop("", [])
        for heading, records in (*sections.items(), ("Options", others)):
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
