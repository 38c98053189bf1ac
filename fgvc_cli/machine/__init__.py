"""Devices, processes, the compiler, threads and signals. Nothing here depends on methods."""
