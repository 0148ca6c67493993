"""The scripts that go with an exported system; they do without emojax."""
