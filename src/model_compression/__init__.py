"""Takes an image classifier from accurate but too big to small, fast and proven."""

__version__ = "0.1.0"
