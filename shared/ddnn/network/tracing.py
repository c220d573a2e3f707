"""A torch module as a graph of its operations (`torch.fx`), cut where one named value is all that goes on.

Only modules that a name lies inside are opened; the others are operations of the graph, whatever they do inside.
"""

import inspect
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from torch import fx, nn

from ddnn.errors import BadConfig

__all__ = ["Traced"]

_LISTED: Final = 12  #: most names that a sentence lists


class _Tracer(fx.Tracer):
    """Notes what each module gives, by the module's name."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.given: dict[str, list[fx.Node]] = {}
        self.begun: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(name.startswith(f"{module_qualified_name}.") for name in self.names)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        name, before = self.path_of_module(m), next(iter(reversed(self.graph.nodes)))
        found = super().call_module(m, forward, args, kwargs)
        if isinstance(found, fx.Proxy):
            self.given.setdefault(name, []).append(found.node)
            self.begun.setdefault(name, before.next)
        return found


class Traced:
    """A module as a graph; `what` names it in sentences, `names` are those that will be asked for."""

    def __init__(self, module: nn.Module, names: Iterable[str], what: str) -> None:
        self.module, self.what = module.eval(), what
        tracer = _Tracer(names)
        try:
            graph = tracer.trace(module, _defaults(module))
        except Exception as error:  # a foreign module may raise anything while it is traced
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadConfig(f"{what} cannot be traced by torch.fx ({why})") from error
        self._given, self._begun, self._nodes = tracer.given, tracer.begun, list(graph.nodes)
        self._input: fx.Node = self._nodes[0]
        result = self._nodes[-1].args[0]
        self._end = result if isinstance(result, fx.Node) else None

    def parts(self, cuts: Sequence[str], end: str = "") -> list[nn.Module]:
        """The pieces before, between and after `cuts`, up to `end`, or that of the module; raise `BadConfig`."""
        nodes = [(name, self._named(name)) for name in cuts]
        last = self._named(end) if end else self._end
        if last is None:
            raise BadConfig(f"{self.what} gives something else than one tensor; expected a network.backbone_end")
        starts, stops = [("", self._input), *nodes], [*nodes, (end, last)]
        found = [self._between(*pair) for pair in zip(starts, stops, strict=True)]
        self._refuse_tied(found, [*cuts])
        return [self._module(*piece) for piece in zip((node for _, node in starts), found, strict=True)]

    def before(self, name: str) -> list[nn.Module | nn.Parameter]:
        """What has weights and acts before the module `name` does."""
        self._named(name)
        at = self._nodes.index(self._begun[name])
        return [weights for node in self._nodes[:at] if (weights := self._weights(node)) is not None]

    def _named(self, name: str) -> fx.Node:
        """The value that the module `name` gives."""
        given = self._given.get(name, [])
        if len(given) > 1:
            raise BadConfig(f"{self.what} runs {name!r} {len(given)} times; expected a name of what runs once")
        if given:
            return given[0]
        known = [each for each, _ in self.module.named_modules() if each and each.count(".") <= name.count(".")]
        listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
        raise BadConfig(f"{self.what} runs nothing called {name!r}; expected a module's name, such as {listed}")

    def _between(self, start: tuple[str, fx.Node], stop: tuple[str, fx.Node]) -> list[fx.Node]:
        """The nodes after the value of `start` up to that of `stop`, in order; raise `BadConfig` where more crosses."""
        (name, source), (_, target) = start, stop
        below = set(_leading_to(source, None)) - {source}
        needed = set(_leading_to(target, source))
        if target in below or source not in needed:
            raise BadConfig(f"network.cuts: {stop[0] or 'the end'!r} does not come after {name!r} in {self.what}")
        crossing = [node for node in self._nodes if node in below & needed and not _anywhere(node)]
        if crossing:
            last = [node for node in crossing if any(user in needed and user not in below for user in node.users)]
            what = ", ".join(map(self._called, last[:_LISTED]))
            sentence = f"network.cuts: {name!r} is no clean cut of {self.what}, as {what} crosses it too"
            raise BadConfig(f"{sentence}; expected one value, of which all that follows is made")
        return [node for node in self._nodes if node in needed and node is not source]

    def _refuse_tied(self, pieces: list[list[fx.Node]], cuts: list[str]) -> None:
        """Raise `BadConfig` where weights act on both sides of a cut: they could not stay the same."""
        seen: dict[int, int] = {}
        for index, piece in enumerate(pieces):
            for node in piece:
                weights = self._weights(node)
                for parameter in weights.parameters() if isinstance(weights, nn.Module) else [weights]:
                    if parameter is not None and seen.setdefault(id(parameter), index) != index:
                        found = f"the weights of {node.target} act on both sides of {cuts[index - 1]!r}"
                        raise BadConfig(f"network.cuts: {found}; expected each on one")

    def _weights(self, node: fx.Node) -> nn.Module | nn.Parameter | None:
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))
        found = _attribute(self.module, str(node.target)) if node.op == "get_attr" else None
        return found if isinstance(found, nn.Parameter) else None

    def _module(self, source: fx.Node, nodes: list[fx.Node]) -> nn.Module:
        """Nodes as a module of their own, from the value of `source` on; its weights keep their names."""
        graph = fx.Graph()
        made = {source: graph.placeholder("x")}
        for node in nodes:
            count = graph.call_method("size", (made[source], 0)) if _counts(node) else None
            made[node] = count or graph.node_copy(node, made.__getitem__)
        graph.output(made[nodes[-1] if nodes else source])
        return fx.GraphModule(self.module, graph, type(self.module).__name__)

    def _called(self, node: fx.Node) -> str:
        if node is self._input:
            return "the input"
        if node.op == "call_module":
            return str(node.target)
        target = getattr(node.target, "__name__", node.target)
        return f"{node.name}, which {target} gives,"


def _leading_to(node: fx.Node, stop: fx.Node | None) -> Iterator[fx.Node]:
    """All that a node is made of, itself too, back to `stop`."""
    waiting, seen = [node], {node}
    while waiting:
        yield (each := waiting.pop())
        if each is not stop and not _anywhere(each):
            fresh = [given for given in each.all_input_nodes if given not in seen]
            seen.update(fresh)
            waiting += fresh


def _anywhere(node: fx.Node) -> bool:
    """Whether it can be had on either side of any cut: weights, and the number of views."""
    return node.op == "get_attr" or _counts(node)


def _counts(node: fx.Node) -> bool:
    """Whether it is the length of the first axis, which is that of all values: `x.size(0)`, `x.shape[0]`."""
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] == (0,)
    if node.op != "call_function" or node.target is not operator.getitem or node.args[1:] != (0,):
        return False
    given = node.args[0]
    return isinstance(given, fx.Node) and (
        (given.op == "call_method" and given.target == "size" and len(given.args) == 1)
        or (given.op == "call_function" and given.target is getattr and given.args[1:] == ("shape",))
    )


def _defaults(module: nn.Module) -> dict[str, Any]:
    """What a module's forward takes beside its first argument, where it has a default."""
    taken = list(inspect.signature(module.forward).parameters.values())[1:]
    return {each.name: each.default for each in taken if each.default is not inspect.Parameter.empty}


def _attribute(module: nn.Module, target: str) -> Any:
    found: Any = module
    for part in target.split("."):
        found = getattr(found, part)
    return found
