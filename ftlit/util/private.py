"""Private members of other libraries, each behind a function of its own, so that an upgrade breaks in one place."""


def import_path(kind: type) -> str:
    """The shortest path from which a class can be imported, as jsonargparse writes it into configs."""
    from jsonargparse._util import get_import_path

    return str(get_import_path(kind))
