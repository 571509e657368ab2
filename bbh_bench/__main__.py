"""``python -m bbh_bench``: the same as ``bbh-bench``."""

import sys

from bbh_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
