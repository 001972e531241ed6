"""``python -m xvmstore``."""

from xvmstore.cli import main

main()
