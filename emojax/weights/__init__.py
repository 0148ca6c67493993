"""Published weights as they are: from a hub or a folder, never unpickled."""
