"""Model inputs: chat template, images, grammar of the answer."""
