"""Sound on disk and in memory: reading, resampling, augmentation."""
