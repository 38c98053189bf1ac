"""Benchmarks on this machine: several ways of doing the same, compared in interleaved rounds."""
