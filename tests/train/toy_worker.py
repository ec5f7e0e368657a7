"""The worker of `kkwarm.train.launch`, with the toy domain registered. Arguments: the job's file."""

import sys
from pathlib import Path

import toy_task as toy

from kkwarm.train.worker import main

if __name__ == "__main__":
    toy.install()
    sys.exit(main(Path(sys.argv[1])))
