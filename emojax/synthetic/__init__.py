"""Demo corpora, rendered on the spot: voices and schematic faces."""
