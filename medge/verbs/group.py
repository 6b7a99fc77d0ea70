"""A verb that has verbs of its own, of which one is meant when none is typed."""

from __future__ import annotations

import click

HELP = ("-h", "--help")


class WithDefault(click.Group):
    """Reads ``medge targets --arch Ampere`` as ``medge targets list --arch Ampere``."""

    default = "list"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default verb in front of options that are not the group's own."""
        if not args or (args[0].startswith("-") and args[0] not in HELP):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they were added."""
        return list(self.commands)
