"""Corpora as they are shipped: records, labels, readers and downloads."""
