"""A reproducible study of multi-modal face anti-spoofing (Parkin and Grinchuk, CVPR Workshops 2019)."""

__version__ = "0.2.0"
