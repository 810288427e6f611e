"""What is true of every operation, and the means to check it: of ours, and of other people's."""
