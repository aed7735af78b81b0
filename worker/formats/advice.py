"""The way out of a refusal: the Python that makes a file this service reads."""

__all__ = ["EXPORT_ADVICE", "UNPICKLE_ADVICE"]

_EXPORT = (
    "example = torch.zeros(2, *input_shape); "
    "program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim('batch')},)); "
    "torch.export.save(program, 'model.pt2')"
)

EXPORT_ADVICE = f"Make a .pt2 where the model is at home: {_EXPORT}"

UNPICKLE_ADVICE = (
    "Make a .pt2 where the file came from: build the model in Python, model.load_state_dict(torch.load(path)) "
    f"(or model = torch.load(path, weights_only=False) for a whole pickled module), then: {_EXPORT}"
)
