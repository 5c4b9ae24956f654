"""`python -m realtime_svc` is `realtime-svc`."""

import sys

from realtime_svc.cli import main

if __name__ == "__main__":
    sys.exit(main())
