"""Parts of `benchmarks.soak`: mutated inputs and killed trainings."""
