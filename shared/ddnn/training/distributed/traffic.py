"""What is handed to the transport, counted where it is handed over."""

from dataclasses import dataclass, field

__all__ = ["Traffic"]


@dataclass
class Traffic:
    """Messages and bytes of one worker, as the training hands them to the transport; the transport's own are not in it.

    What is `exchange`d is vectors and their heads; `control` is where to start, and each epoch's line of metrics.
    """

    messages: int = 0
    sent: int = 0
    received: int = 0
    control: int = field(default=0)

    def exchange(self, *, sent: int = 0, received: int = 0, messages: int = 1) -> None:
        """Count an exchange."""
        self.messages, self.sent, self.received = self.messages + messages, self.sent + sent, self.received + received

    def document(self) -> dict[str, int]:
        """For metrics and manifest."""
        return {"messages": self.messages, "sent": self.sent, "received": self.received, "control": self.control}
