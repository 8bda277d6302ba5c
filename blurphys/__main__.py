"""`python -m blurphys`: runs the command line without the installed script."""

from .cli import main

main()
