"""The command-line reference, made from the commands' own help: `make docs` writes docs/cli.md."""

import click

from kpairs.cli import main


def reference():
    """The help of `kpairs` and of each command, as Markdown."""
    context = click.Context(main, info_name="kpairs", **main.context_settings)
    parts = ["# Command-line reference", "Made by `make docs` from `--help`; do not edit."]
    parts.append(_block(main, context))
    return "\n\n".join([*parts, *_commands(main, context)]) + "\n"


def _commands(group, context):
    """A heading and the help of each command, groups before theirs."""
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        inner = click.Context(command, info_name=name, parent=context)
        yield f"## {inner.command_path}"
        yield _block(command, inner)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _block(command, context):
    context.terminal_width = context.max_content_width = 100
    return f"```text\n{command.get_help(context)}\n```"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
