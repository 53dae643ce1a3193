"""`python -m dasr_fast.build` compiles csrc into the library of the backends cpp and cuda; `library` loads it."""
