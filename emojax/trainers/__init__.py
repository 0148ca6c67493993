"""The three published systems as they are trained, a file each."""
