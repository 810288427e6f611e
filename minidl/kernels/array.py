"""The readable form of the heavy routines: whole-array expressions for NumPy or CuPy."""
