"""What the computer is and does: devices, processes, the compiler, threads, signals. It knows nothing of methods."""
