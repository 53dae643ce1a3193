"""How works are measured, kept and shown."""
