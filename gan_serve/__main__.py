"""Run the command line as ``python -m gan_serve``."""

from gan_serve.cli import main

main()
