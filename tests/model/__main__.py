"""`python -m tests.model [STEPS [SEED]]`: the model check for as many steps as one likes; the seed is printed."""

from __future__ import annotations

import random
import sys
import unittest
from typing import Any

from tests.model.machine import seeded

STEPS_A_RUN = 100


def main(arguments: list[str]) -> int:
    steps = int(arguments[0]) if arguments else 200_000
    number = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {number}, {steps} steps" + "\n")
    done = 0
    while done < steps:
        machine: Any = seeded(number + done, 100, STEPS_A_RUN)
        result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(machine.TestCase("runTest"))
        done += machine.steps
        if not result.wasSuccessful():
            sys.stdout.write(f"divergence after {done} steps: seed {number}" + "\n")
            return 1
    sys.stdout.write(f"{done} steps without divergence, seed {number}" + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
