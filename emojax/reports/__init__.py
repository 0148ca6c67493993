"""What a run leaves to read: tables, figures, and how much speaker is left."""
