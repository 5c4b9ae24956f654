"""On PYTHONPATH of every Python server that is measured: SIGWINCH, which nothing else uses, collects garbage, so that
memory is compared without it.
"""

import gc
import signal

signal.signal(signal.SIGWINCH, lambda number, frame: gc.collect())
