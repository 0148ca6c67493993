"""emojax: emotion recognition in JAX, from conversations, speech and faces."""
