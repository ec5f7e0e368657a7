"""python -m kkwarm."""

from kkwarm.cli import main

main()
