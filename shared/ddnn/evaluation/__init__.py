"""What a network does with a data set: every exit's scores, who answers, how right, at how many bytes."""

from ddnn.evaluation.decide import NOBODY, Decisions, decide, judge
from ddnn.evaluation.report import evaluate
from ddnn.evaluation.scores import Progress, Recorder, Scores, record

__all__ = ["NOBODY", "Decisions", "Progress", "Recorder", "Scores", "decide", "evaluate", "judge", "record"]
