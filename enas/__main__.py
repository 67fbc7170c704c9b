"""`python -m enas` is `enas`."""

from enas.cli import main

main()
