"""What the benchmarks run in other programs' environments; nothing here imports furnclip."""
