"""DiGraP: Directional Gradient Projection for robust fine-tuning of foundation models (ICLR 2025)."""

__version__ = "0.1.0"
