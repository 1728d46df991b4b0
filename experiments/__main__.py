"""Entry point of `python -m experiments`."""

import os
import sys

if __name__ == "__main__":
    # Checks that raise from compiled code are host callbacks, and programs with those are never cached; as NaN they
    # end in the verdict NOT_FINITE. Read when equinox is imported, so before everything else.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Every core is a device of its own, on which flows run side by side; read when the first array is made.
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(8, cores)))
    from experiments.cli import main

    sys.exit(main())
