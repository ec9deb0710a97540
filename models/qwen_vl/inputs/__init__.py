"""Requests as the model reads them: chat template, images, grammar of the answer."""
