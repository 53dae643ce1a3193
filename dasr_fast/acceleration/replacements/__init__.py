"""What replaces other people's DASR modules: one file a kind of module, how they are recognised, and how replaced."""
