"""From a `.pt2` to a network."""

from pathlib import Path

from torch import fx

from worker.errors import UnsupportedModel
from worker.formats.advice import EXPORT_ADVICE
from worker.formats.pt2.archive import Pt2Archive
from worker.formats.pt2.batch import described_border
from worker.formats.pt2.graph import GraphBuilder
from worker.formats.pt2.module import with_tensors
from worker.formats.pt2.schema import Program, Versioned, parse
from worker.formats.pt2.signature import add_inputs, add_outputs
from worker.formats.pt2.tensors import TensorTable
from worker.graph.cleaning import clean, fold_parameters, split_recurrent
from worker.graph.network import Network
from worker.order import ChildLimits
from worker.training.mode import set_mode

__all__ = ["read_pt2"]

_SCHEMA_MAJOR = 8


def read_pt2(path: Path, limits: ChildLimits) -> Network:
    """Read what `torch.export.save` wrote, without running anything of it.

    Train-mode and decomposed exports come out in eval form. Inputs and outputs are flat, in the
    order of the file.

    Raises:
        MalformedModel: damaged, or against the rules of the format.
        UnsafeModel: members that are programs.
        UnsupportedModel: an op, a dtype or a feature without support, or more than `limits` allow; names it.
    """
    with Pt2Archive(path) as archive:
        member = f"models/{archive.model_name}.json"
        document = archive.json_member(member)
        version = parse(Versioned, member, document).schema_version
        if version.major != _SCHEMA_MAJOR:
            raise UnsupportedModel(
                f"{member} follows schema {version.major}.{version.minor}; schema {_SCHEMA_MAJOR} is read, which torch "
                f"2.6 and later write. {EXPORT_ADVICE}"
            )
        exported = parse(Program, member, document).graph_module
        del document
        graph = fx.Graph()
        builder = GraphBuilder(graph, limits.model_nodes)
        inputs = add_inputs(builder, graph, exported)
        builder.add(exported.graph.nodes)
        outputs = add_outputs(builder, graph, exported)
        clean(graph)
        module = with_tensors(graph, TensorTable(archive))
    split_recurrent(module)
    set_mode(module, training=False)
    input_specs, output_specs = described_border(module, inputs, outputs, limits.memory_bytes)
    fold_parameters(module)
    return Network(module=module, inputs=input_specs, outputs=output_specs, source="pt2")
