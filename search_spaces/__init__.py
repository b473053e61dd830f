"""Plain descriptions of what is searched and over which seeds: no ray, no torch."""
