"""The parts of `python -m deploy.ray.bulk`, which classifies images with Ray Data.

Ray reads these variables when it is imported.
"""

import os

# Ray would report the use to its authors.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# What a run starts listens on loopback. The variable works on all systems.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# Otherwise Ray prints an error about the arguments of the actors, which a run keeps alive.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
