"""The paper's count of what a device sends."""

__all__ = ["communication_bytes"]


def communication_bytes(classes: int, filters: int, values: int, local_share: float) -> float:
    """Bytes a device and event: c = 4·|C| + (1 − l)·f·o / 8 (DDNN paper, equation 1).

    4 bytes for each of |C| scores, always; one bit for each of the `values` o that each of the `filters` f has, when
    the event is not among the share l that exits locally. It counts neither headers, nor answers, nor edge → cloud.
    """
    return 4 * classes + (1 - local_share) * filters * values / 8
