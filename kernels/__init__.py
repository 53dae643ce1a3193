"""Triton kernels, one file an op, installed as `dasr_fast.kernels`.

`<op>.py` here holds the functions of `dasr_fast.reference.<op>` under the same names, and `unsupported`; being there is
enough for `dasr_fast.ops` to find it.
"""
