"""The edge tier: a gateway that fuses what its devices send."""
