"""From corpora on disk to arrays: readers, features, tables and splits."""
