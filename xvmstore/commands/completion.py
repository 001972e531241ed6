"""Names for the shell to complete. Whatever goes wrong, the shell sees no error, only no names."""

import click


def volumes(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Volumes of the node, as long as it takes to ask it."""
    from remote.errors import XvmError
    from xvmstore.app import App

    try:
        site = context.ensure_object(App).site()
        return [one.name for one in site.volumes() if one.name.startswith(incomplete)]
    except XvmError:
        return []


def guests(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Guests that have volumes."""
    return list(dict.fromkeys(name.partition("/")[0] for name in volumes(context, parameter, incomplete)))


def nodes(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Nodes of the configuration."""
    from remote.errors import XvmError
    from xvmstore.app import App

    try:
        return [name for name in context.ensure_object(App).site().config.nodes if name.startswith(incomplete)]
    except XvmError:
        return []
