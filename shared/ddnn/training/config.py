"""Everything a training run can set: a TOML file, each key with a default and a sentence."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ddnn.configs import merged, read_toml
from ddnn.errors import BadConfig
from ddnn.network.plan import NetworkConfig, Table

__all__ = ["Config", "TrainingConfig", "WorkersConfig"]

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class TrainingConfig(Table):
    """How the network is trained."""

    epochs: int = Field(default=80, ge=1, le=100_000)
    """Passes over the training events."""
    batch: int = Field(default=64, ge=2, le=65_536)
    """Events a step."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (which is Adam without a weight decay), or plain stochastic gradient descent, with a larger rate."""
    learning_rate: Amount = 0.003
    """Largest step of the optimizer."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the learning rate does after the warm-up: fall along a cosine to nearly nothing, or stay."""
    warmup: Share = 0.05
    """Share of all steps over which the learning rate rises."""
    weight_decay: Amount = 0.02
    """The optimizer's pull of weights towards zero."""
    device_weight: Amount = 1.0
    """Weight of each device exit's loss."""
    local_weight: Amount = 1.0
    """Weight of the local exit's loss."""
    edge_weight: Amount = 1.0
    """Weight of the edge exit's loss."""
    cloud_weight: Amount = 1.0
    """Weight of the cloud exit's loss."""
    class_weights: Literal["none", "balanced"] = "none"
    """Whether the classes weigh as many events as they have, or all alike."""
    cut_epochs: Annotated[int, Field(ge=0, le=100_000)] = 20
    """Passes over the training events in which a bottleneck of a backbone learns, before all else, what it cuts."""
    smoothing: Share = 0.0
    """Share of each label that is spread evenly over all classes: few events are then not learnt by heart."""
    distil: Amount = 0.0
    """Weight of what the exits below the cloud learn from its answers, beside the labels; 0: nothing."""
    distil_temperature: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 2.0
    """Softens the answers that are learnt from."""
    device_dropout: Share = 0.35
    """Chance of each device to be lost, in the events that are learnt with devices lost."""
    whole: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.4
    """Share of the events of a step that are learnt with all devices they have."""
    liars: Share = 0.0
    """Share of the events of a step in which one device lies: half as of another event, half the worst it could."""
    privacy: Amount = 0.0
    """Weight of what goes up telling the class alone, so that a view cannot be rebuilt from it; 0: nothing."""
    shift: Share = 0.06
    """Largest random shift of images and series, as a share of their side or length."""
    rotate: Amount = 12.0
    """Largest random rotation of images, in degrees."""
    scale: Share = 0.12
    """Largest random change of size (images) or amplitude (series), as a share."""
    warp: Share = 0.04
    """Largest random displacement of an image's parts against each other, as a share of its side."""
    mirror: bool = False
    """Whether images are mirrored, left for right, at random."""
    colour: Share = 0.0
    """Largest random change of each channel's strength and level in images, as a share of it and of its spread."""
    turn: Amount = 0.0
    """Largest random rotation, in degrees, of series' channels taken in threes: the axes of a worn sensor."""
    noise: Amount = 0.05
    """Random noise on series and vectors, as a share of each channel's own spread."""
    sparse: Amount = 0.0
    """ε by which weights of dense layers exist, each with chance ε (n + m) / (n m) between n numbers and m; 0: all."""
    remove: Share = 0.0
    """Share of each dense layer's weights, the nearest to zero, that are removed after three quarters of the epochs."""
    norms: Literal["learn", "keep"] = "learn"
    """Whether batch norms gather statistics, or keep those that a bundle's weights came with."""
    average: Share = 0.99
    """Share of the past kept, each step, in the averaged weights that are validated and exported; 0: no averaging."""
    keep: Literal["best", "last"] = "best"
    """Which epoch is kept: the best by validation, or the last, where validation has too few events to choose by."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many epochs without a better validation score; 0: never."""


class WorkersConfig(Table):
    """Whether several processes learn together, and how."""

    count: int = Field(default=0, ge=0, le=1024)
    """Processes that learn together, each from its part of every batch; 0: one alone."""
    mode: Literal["sync", "average", "softsync", "downpour", "admm", "codistill"] = "sync"
    """What they exchange: gradients, weights, updates through a server, a consensus; replicas exchange copies."""
    every: int = Field(default=10, ge=1, le=100_000)
    """Steps between two exchanges of a worker: its period of averaging or pushing, the inner steps of a consensus."""
    fetch_every: int = Field(default=10, ge=1, le=100_000)
    """Steps between two fetches of the server's weights (downpour)."""
    average_optimizer: bool = False
    """Whether averaging takes the optimizer's state with the weights (average)."""
    soft: int = Field(default=0, ge=0, le=1024)
    """Updates that the server waits for before it applies them; 0: one of each worker that lives (softsync)."""
    stale: Literal["scaled", "constant"] = "scaled"
    """Whether an update counts the less the staler it is, by its staleness, or always the same."""
    most_stale: int = Field(default=0, ge=0, le=1_000_000)
    """Staleness past which an update is refused; 0: none is (softsync, downpour)."""
    rho: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 0.01
    """Pull of each worker's weights towards the consensus (admm)."""
    tolerance: Amount = 0.0
    """Training ends once the primal and the dual residual are both below it; 0: after its epochs (admm)."""
    compress: Amount = 0.0
    """Only entries of an update beyond this are sent, one bit and an index each, the rest is kept; 0: all are."""
    events: Literal["apart", "same"] = "apart"
    """Whether each replica has training events of its own, or all have the same (codistill)."""
    burn_in: int = Field(default=1, ge=0, le=100_000)
    """Epochs that a replica learns in before it listens to the others (codistill)."""
    others_weight: Amount = 1.0
    """Weight of what the others say, beside the labels; 0: replicas learn apart (codistill)."""
    timeout_s: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 300.0
    """Longest wait for a worker, validation of an epoch included."""


class Config(Table):
    """The tables of the file."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    workers: WorkersConfig = WorkersConfig()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Config":
        """Defaults changed by `document`; raise `BadConfig` naming the first key that is unknown or impossible."""
        try:
            # As JSON and strictly: a list is a tuple, but "3" is no number.
            whole = json.dumps(merged(cls().model_dump(mode="json"), document), default=str)
            return cls.model_validate_json(whole, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise BadConfig(f"{key} is not a key of the config; `ddnn train --show-config` lists them") from error
            # Where a key may be of several types, pydantic adds the type that it tried first.
            key = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
            raise BadConfig(f"{key} is {first['input']!r}: {first['msg']}") from error

    @classmethod
    def read(cls, *files: Path, base: "Config | None" = None) -> "Config":
        """`base`, or the defaults, changed by the TOML `files` in turn: where two set a key, the later one has it."""
        document: dict[str, Any] = (base or cls()).model_dump(mode="json")
        for file in files:
            document = merged(document, read_toml(file))
        return cls.of(document)

    def changed(self, table: str = "training", /, **keys: Any) -> "Config":
        """The same with keys of a table replaced, those given as None left alone; flags come this way."""
        document = self.model_dump(mode="json")
        document[table].update({key: value for key, value in keys.items() if value is not None})
        return Config.of(document)

    def to_toml(self) -> str:
        """All keys with their values and sentences; reading it gives this config again."""
        return "\n".join(_tables(self, ())).strip() + "\n"


def _tables(model: BaseModel, at: tuple[str, ...]) -> list[str]:
    lines, tables = [f"\n[{'.'.join(at)}]"] if at else [], list[str]()
    for name, field in type(model).model_fields.items():
        if isinstance(value := getattr(model, name), BaseModel):
            tables += _tables(value, (*at, name))
        else:  # JSON's numbers, strings, booleans and nested lists are TOML's too
            lines += [f"# {field.description}", f"{name} = {json.dumps(value)}"]
    return lines + tables
