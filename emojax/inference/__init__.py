"""What a trained run says of new recordings; nothing of training is loaded."""
