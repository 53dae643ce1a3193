"""The compiled library, loaded: its raw ops are `cpp.<name>` and `cuda.<name>`, with the schemas of `schemas.py`."""

from typing import Any

import torch

from dasr_fast.build import record
from dasr_fast.compiled.schemas import SCHEMAS

INSTRUCTION_SETS = ("baseline", "AVX2", "AVX-512", "AVX-512 with AMX")
"""By the number that the raw op `instruction_set` returns."""

reasons = [record.missing(part) for part in record.PARTS]
if all(reasons):
    raise record.NotBuilt(reasons[0])
torch.ops.load_library(str(record.FOLDER / record.LIBRARY))  # type: ignore[no-untyped-call]

_LIBRARIES = []
for device, schemas in SCHEMAS.items():
    library: Any = torch.library.Library(f"dasr_fast_{device}", "DEF")  # type: ignore[no-untyped-call]
    for schema in schemas:
        library.define(schema)
    _LIBRARIES.append(library)  # They are gone with the last reference.

cpp = torch.ops.dasr_fast_cpp
cuda = torch.ops.dasr_fast_cuda
