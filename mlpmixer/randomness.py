"""Named random generators: every random choice of a run follows from its one seed.

A generator is made afresh for each purpose and step, so that no state has to be saved: a run
that resumes at step 1000 draws what it would have drawn there anyway.
"""

from hashlib import blake2b

import torch


def derived_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the purpose that `names` spell out, e.g. ("augment", step)."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for the purpose that `names` spell out."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))
