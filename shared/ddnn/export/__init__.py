"""From a trained network to a bundle: one ONNX file a section, proved against torch before anything is kept."""

from ddnn.export.bundle import draft_bundle, refuse_existing, sample_bundle, sample_data, seal, staged, write_bundle
from ddnn.export.proof import prove

__all__ = ["draft_bundle", "prove", "refuse_existing", "sample_bundle", "sample_data", "seal", "staged", "write_bundle"]
