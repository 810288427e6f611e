"""The definition of the heavy routines: plain loops, one element at a time."""
