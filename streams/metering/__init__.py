"""The arithmetic of the meters: numpy in, numpy out, no I/O."""
