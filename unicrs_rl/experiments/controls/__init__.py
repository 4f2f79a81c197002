"""Controls: what a comparison has to find, and what it must not, where the answer is known beforehand."""
