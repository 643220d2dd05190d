"""The ``ecad`` command: groups put together, errors turned into messages and exit codes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from ecad_dsl.cli import (
    bench,
    census,
    compare,
    demo,
    doctor,
    embed,
    evolve,
    explain,
    generate,
    library,
    models,
    reading,
    report,
    runs,
    schedules,
    score,
    simplify,
    smoothcache,
    transfer,
)
from ecad_dsl.cli.console import INTERRUPTED, WRONG_USE, echo_err
from ecad_dsl.errors import EcadError, EcadWarning

app = typer.Typer(
    name="ecad",
    help="Caching schedules of diffusion transformers: check, show, apply, evolve and compare them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Importing what typer draws its help panels with takes longer than everything else at start-up.
    rich_markup_mode=None,
    add_completion=False,
)
for group in (
    schedules,
    library,
    models,
    explain,
    reading,
    simplify,
    smoothcache,
    generate,
    embed,
    evolve,
    runs,
    compare,
    transfer,
    census,
    report,
    bench,
    score,
    demo,
    doctor,
):
    group.register(app)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Exit code 0: fine, 1: findings, 2: wrong use, 130: interrupted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", EcadWarning)
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            app()
    except EcadError as error:
        if "--debug" in sys.argv:
            raise
        # Diagnostics of a program bring their own heading.
        heading = "" if str(error).startswith(("error[", "warning[")) else "error: "
        echo_err(f"{heading}{error}")
        sys.exit(WRONG_USE)
    except KeyboardInterrupt:
        echo_err("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        echo_err(f"internal error: {type(error).__name__}: {error}")
        echo_err("this is a mistake of ecad, not yours; run it again as `ecad --debug ...` for the traceback")
        sys.exit(WRONG_USE)


def _show_warning(otherwise: Callable[..., None], message: Warning | str, *where: Any) -> None:
    """Warnings meant for the user look like errors; those of other packages are shown as ever."""
    if isinstance(message, EcadWarning):
        echo_err(f"warning: {message}")
    else:
        otherwise(message, *where)


if __name__ == "__main__":
    main()
