"""The presets, and the loss scale, against PyTorch, optax and Keras themselves: `peers_<peer>.py`,
each in a process of its own. JAX and PyTorch start threads, and compile in them, and the compiler
crashed in a process where other tests fork and limit memory.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PEERS = {
    "torch": ("torch",),
    "optax": ("jax", "optax"),
    "keras": ("jax", "keras"),
    "interop_torch": ("torch",),
    "loss_scale": ("torch",),
}


@pytest.mark.parametrize("peer", PEERS)
def test_presets_follow_their_peer(peer: str) -> None:
    missing = [name for name in PEERS[peer] if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; pip install '.[peers]'")
    file = Path(__file__).with_name(f"peers_{peer}.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
