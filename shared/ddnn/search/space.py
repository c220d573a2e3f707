"""Where networks are looked for: a config every value of which is a list of choices; each choice is a gene's."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ddnn.configs import merged
from ddnn.errors import BadConfig
from ddnn.recipe import Looks
from ddnn.training import Config

__all__ = ["Gene", "Genes", "Space"]

Genes = tuple[int, ...]
"""Of a network: which of its choices each gene has."""

_FUSIONS: Final = ["max", "mean", "attention", "concat"]
_BITS: Final = ["bits1", "bits2", "bits4"]
_UPPER: Final = {
    "edge_fusion": _FUSIONS,
    "local_fusion": ["max", "mean", "clipped", "attention", "concat"],
    "edge": {"widths": [[16], [32], [64], [64, 64], [128]], "cut_width": [32, 64, 128, 256]},
    "cloud": {"widths": [[32], [64], [128], [128, 64], [256]]},
}
_FILTERED: Final = {
    "filters": [[4], [8], [8, 8], [16], [16, 16], [24]],
    "cut_filters": [1, 2, 3, 4, 6, 8],
    "cut_bits": [64, 128, 256, 512],
    "cut_codec": _BITS,
}
_DENSE: Final = {"widths": [[16], [32], [64], [64, 64]], "cut_width": [16, 32, 64, 128], "cut_codec": _BITS}

_SPARSE: Final = {"sparse": [0.0, 4.0, 8.0, 16.0], "remove": [0.0, 0.2, 0.4]}


@dataclass(frozen=True)
class Gene:
    """One key of the config, and what it may be."""

    key: str  #: network.device.filters
    choices: tuple[Any, ...]

    def document(self, choice: int) -> dict[str, Any]:
        """A config of this alone."""
        document: Any = self.choices[choice]
        for part in reversed(self.key.split(".")):
            document = {part: document}
        return dict(document)


@dataclass(frozen=True)
class Space:
    """All networks that may be tried.

    Args:
        base: What is not among the genes, and where a search starts.
        genes: What differs.
    """

    base: Config
    genes: tuple[Gene, ...]

    @classmethod
    def of(cls, base: Config, document: Mapping[str, Any]) -> "Space":
        """Of a config every value of which is a list of choices; raise `BadConfig` naming the first that is none."""
        genes = tuple(_genes(document, ""))
        if not any(len(gene.choices) > 1 for gene in genes):
            raise BadConfig("the space has no key with two choices; expected some, such as cut_filters = [2, 4, 8]")
        space = cls(base, genes)
        for gene in genes:
            for choice in range(len(gene.choices)):  # each by itself: what fits together is found when it is built
                Config.of(merged(base.model_dump(mode="json"), gene.document(choice)))
        return space

    @classmethod
    def usual(cls, base: Config, looks: Looks, *, rounds: bool = False) -> "Space":
        """For data that look so: filters or widths, layers, cuts, bits and fusions; of `rounds` sparse sections too."""
        device = _DENSE if looks.kind == "numbers" or base.network.device.flat else _FILTERED
        training = {"training": _SPARSE} if rounds else {}
        return cls.of(base, {"network": {**_UPPER, "device": device}, **training})

    def __len__(self) -> int:
        return math.prod(len(gene.choices) for gene in self.genes)

    def config(self, genes: Sequence[int]) -> Config:
        """The network of these genes; raise `BadConfig` where they do not fit together."""
        document = self.base.model_dump(mode="json")
        for gene, choice in zip(self.genes, genes, strict=True):
            document = merged(document, gene.document(choice))
        return Config.of(document)

    def told(self, genes: Sequence[int]) -> dict[str, Any]:
        """Key by key what they are."""
        return {gene.key: gene.choices[choice] for gene, choice in zip(self.genes, genes, strict=True)}

    def of_base(self) -> Genes | None:
        """The genes of `base`, if all of them are among the choices."""
        document, found = self.base.model_dump(mode="json"), list[int]()
        for gene in self.genes:
            value: Any = document
            for part in gene.key.split("."):
                value = value[part]
            if value not in gene.choices:
                return None
            found.append(gene.choices.index(value))
        return tuple(found)

    def to_toml(self) -> str:
        """As a file that `--space` reads."""
        tables: dict[str, list[str]] = {}
        for gene in self.genes:
            table, _, key = gene.key.rpartition(".")
            tables.setdefault(table, []).append(f"{key} = {json.dumps(list(gene.choices))}")
        return "\n\n".join("\n".join([f"[{table}]", *lines]) for table, lines in tables.items()) + "\n"


def _genes(document: Mapping[str, Any], at: str) -> Iterator[Gene]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _genes(value, f"{at}{key}.")
        elif isinstance(value, list) and value:
            yield Gene(f"{at}{key}", tuple(value))
        else:
            raise BadConfig(f"{at}{key} is {value!r} in the space; expected a list of choices, such as [2, 4, 8]")
